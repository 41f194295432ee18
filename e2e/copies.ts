/** What runs where, from the process tables of all hosts: the truth about what runs. */
import assert from "node:assert/strict";
import type { LabDeployment } from "../apps/server/deployment/lab-deployment.ts";

/** Names of the hosts on which a machine has a QEMU, by the machine's id. */
export async function copies(deployment: LabDeployment): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const { host } of deployment.hosts.values()) {
    for (const { uuid } of await host.qemuProcesses()) found.set(uuid, [...(found.get(uuid) ?? []), host.name]);
  }
  return found;
}

/** Watches while `work` goes on. @throws AssertionError where a machine ran twice meanwhile */
export async function neverTwice<T>(deployment: LabDeployment, work: () => Promise<T>): Promise<T> {
  const watch = await deployment.lab.watchGuests();
  const verdict = (): void => assert.deepEqual(watch.violations, []);
  try {
    const result = await work();
    assert.ok(watch.looks > 0, "the processes were looked at");
    verdict();
    return result;
  } catch (error) {
    // Two copies are the worse news, and may be the cause of the other.
    verdict();
    throw error;
  } finally {
    watch.stop();
  }
}

/** Nothing of any machine is on any host: no process, no domain, no disk. @throws AssertionError */
export async function nothingIsLeft(deployment: LabDeployment): Promise<void> {
  assert.equal((await copies(deployment)).size, 0);
  for (const { host } of deployment.hosts.values()) {
    const { stdout: domains } = await host.exec(["virsh", "-q", "list", "--all", "--name"]);
    assert.equal(domains.trim(), "", `domains on ${host.name}`);
    const { stdout: disks } = await host.exec(["find", "/mnt/local/sheaf", "/mnt/shared/sheaf", "-path", "*volumes*", "-type", "f"]);
    assert.equal(disks.trim(), "", `disks on ${host.name}`);
  }
}
