/** A machine's life beyond start and stop, on real hosts: its guest's own end by each policy, protection, copies, drains. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "../apps/server/deployment/processes.ts";
import { guestAnswers } from "./guest.ts";
import { SiteMachines } from "./site-machines.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
let machines: SiteMachines;
before(
  async () => {
    site = await openSite({ hosts: 2, port: 17_493 });
    machines = new SiteMachines(site);
  },
  { timeout: 240_000 },
);
after(() => site?.close(), { timeout: 60_000 });

for (const policy of ["stay", "restart", "delete"] as const) {
  test(`a guest that shuts itself down: ${policy}`, { timeout: 120_000 }, async () => {
    const name = `ends-${policy}`;
    await machines.create(name, { restart: { onGuestShutdown: policy } });
    await machines.inState(name, "running");
    const { bootId } = await guestAnswers(await machines.address(name));
    const at = await machines.address(name);
    const host = await machines.hostOf(name);
    const { id } = await machines.get(name);
    // From inside the guest, by its own agent: no press of the button that a booting guest misses.
    await until("the guest's agent", 60_000, async () =>
      (await host.exec(["virsh", "shutdown", id, "--mode", "agent"])).code === 0 ? true : undefined,
    );
    if (policy === "delete") {
      await machines.goneFrom(name);
      return;
    }
    if (policy === "restart") {
      await until("another boot", 60_000, async () => ((await guestAnswers(at)).bootId === bootId ? undefined : true));
    } else {
      await machines.inState(name, "stopped");
      assert.equal((await machines.seen(name)).stoppedBy, "guest");
    }
    await site.must("vm", "delete", name, "--wait");
  });
}

test("a protected machine is not deleted; a copy of a stopped one runs by itself, without the original's image", { timeout: 180_000 }, async () => {
  await machines.create("original", { protected: true });
  await machines.inState("original", "running");
  assert.equal((await site.sheaf("vm", "delete", "original")).code, 4);
  await site.must("vm", "stop", "original", "--force", "--wait");
  await site.must("vm", "clone", "original", "copy", "--wait");
  await site.must("vm", "start", "copy", "--wait");
  const answer = await guestAnswers(await machines.address("copy"));
  assert.equal(answer.hostname, "copy");
  assert.notEqual(await machines.address("copy"), await machines.address("original"));
  await site.must("vm", "delete", "copy", "--wait");
  await site.deployment.client.vm.change({ params: { id: "original" }, body: { spec: { protected: false } } });
  await site.must("vm", "delete", "original", "--wait");
});

test("a drain moves what runs and tells what does not go by itself; the host takes nothing until it is activated", { timeout: 150_000 }, async () => {
  await site.must("host", "cordon", "h2");
  await site.must("vm", "create", "many", "--image", "mini", "--memory", "96MiB", "--count", "3", "--wait");
  await site.must("host", "activate", "h2");
  const names = ["many-01", "many-02", "many-03"];
  const boots = await Promise.all(names.map(async (name) => (await guestAnswers(await machines.address(name))).bootId));
  await site.must("host", "drain", "h1", "--parallel", "2", "--wait");
  const [drained] = machines.hosts;
  assert.deepEqual(await drained?.qemuProcesses(), []);
  assert.deepEqual(await Promise.all(names.map(async (name) => (await guestAnswers(await machines.address(name))).bootId)), boots);
  await machines.create("refused", { placement: { host: "h1" } });
  const reason = await until("the reason", 20_000, async () => {
    const { placement } = (await machines.get("refused")).status as { placement?: { pending?: { reason: string } } }; // a machine's record
    return placement?.pending?.reason;
  });
  assert.match(reason, /is being drained/);
  await site.must("host", "activate", "h1");
  await machines.inState("refused", "running");
});
