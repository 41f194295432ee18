/**
 * A host is cut off from its server for a while: its guests run on and are restarted by their policy, the server says since when it is
 * unreachable and keeps what is asked for, and on its return everything converges, the host's own news included, in their order.
 */
import assert from "node:assert/strict";
import { randomInt } from "@sheaf/base";
import { taskProgress, type HostStatus, type TaskStatus, type VmStatus } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { copies, neverTwice } from "../e2e/copies.ts";
import { guestAnswers } from "../e2e/guest.ts";
import { openSite, type Site } from "../e2e/site.ts";
import type { Round, Story } from "./story.ts";

export const cutOff: Story = {
  name: "cut-off",
  summary: "a host is cut off from the server for minutes; its guests run on, and everything converges on its return",
  async open() {
    const site = await openSite({ hosts: 2, port: 17_683 });
    return {
      logDirectory: `${site.folder}/d/logs`,
      round: ({ random, log, stop }) => playCutOff(site, { cutMs: 60_000 + randomInt(random, 180_000), random, log, stop }),
      close: () => site.close(),
    };
  },
};

export interface CutOffRound extends Pick<Round, "random" | "log" | "stop"> {
  readonly cutMs: number;
}

export async function playCutOff(site: Site, { cutMs, random, log, stop }: CutOffRound): Promise<void> {
  const { deployment } = site;
  const { client } = deployment;
  const hostName = `h${1 + randomInt(random, deployment.hosts.size)}`;
  const host = deployment.hosts.get(hostName)?.host;
  assert.ok(host);
  const create = (name: string, ...words: string[]) =>
    site.must("vm", "create", name, "--image", "mini", "--memory", "96MiB", "--on", hostName, ...words);
  const show = async (name: string) => {
    const vm = await client.vm.get({ params: { id: name } });
    return { ...vm, status: vm.status as VmStatus }; // a machine's record
  };
  await Promise.all(["steady", "crasher", "leaver"].map((name) => create(name, "--wait")));
  const [steady, crasher, leaver] = await Promise.all(["steady", "crasher", "leaver"].map(show));
  assert.ok(steady && crasher && leaver);
  const address = steady.spec.nics[0]?.addresses?.[0] ?? "";
  const booted = await guestAnswers(address);
  const pidOf = async (id: string): Promise<number | undefined> => (await host.qemuProcesses()).find(({ uuid }) => uuid === id)?.pid;
  const pids = new Map(await Promise.all([steady, leaver].map(async ({ id }) => [id, await pidOf(id)] as const)));
  const restartsBefore = crasher.status.agent?.restarts ?? 0;

  await neverTwice(deployment, async () => {
    const cutAt = Date.now();
    const end = performance.now() + cutMs;
    await host.cut();
    log(`${hostName} is cut off for ${Math.round(cutMs / 1000)} s`);
    const crashed = await pidOf(crasher.id);
    assert.ok(crashed !== undefined);
    process.kill(crashed, "SIGKILL");
    const restarted = await until("the restart of the crashed guest by its host alone", 60_000, async () => {
      const pid = await pidOf(crasher.id);
      return pid !== crashed ? pid : undefined;
    });

    const liveness = await until("the host as unreachable", 60_000, async () => {
      const { status } = await client.host.get({ params: { id: hostName } });
      const found = (status as HostStatus).liveness; // a host's record
      return found?.state === "unreachable" ? found : undefined;
    });
    assert.ok(liveness.since >= cutAt && liveness.since <= Date.now(), "since when it is unreachable");
    assert.match(liveness.reason, /its agent .* for \d+ s/);
    // A connection that is silent counts as one for a few heartbeats more.
    await until("its machines as unreachable", 30_000, async () => ((await show("steady")).state === "unreachable" ? true : undefined));

    // What is asked for meanwhile is taken, and waits.
    const stopping = await client.vm.stop({ params: { id: "leaver" }, body: {} });
    await create("newcomer");
    const reason = await until("why the new machine waits", 30_000, async () => (await show("newcomer")).status.placement?.pending?.reason);
    assert.match(reason, /unreachable|not ready/);
    await until(
      "the end of the time cut off",
      cutMs + 120_000,
      async () => {
        stop.throwIfAborted();
        for (const [id, pid] of pids) assert.equal(await pidOf(id), pid, "guests of a host that is cut off run on");
        return performance.now() >= end ? true : undefined;
      },
      1000,
    );
    const inside = await host.exec(["busybox", "wget", "-q", "-O", "-", `http://${address}/status`]);
    assert.equal((JSON.parse(inside.stdout) as { bootId: string }).bootId, booted.bootId, "the guest answers its neighbours"); // the image's own page
    const waits = taskProgress((await client.task.get({ params: { id: stopping.task ?? "" } })).status as TaskStatus); // a task's record
    assert.deepEqual([waits?.state, waits?.message], ["running", "waiting for its host"]);
    assert.equal((await show("newcomer")).placement, undefined);

    const healedAt = Date.now();
    await host.join();
    log(`${hostName} is back`);
    await until("the host's return", 60_000, async () => {
      const { status } = await client.host.get({ params: { id: hostName } });
      return (status as HostStatus).liveness?.state === "ready" ? true : undefined; // a host's record
    });
    const stateOf = new Map([
      ["steady", "running"],
      ["crasher", "running"],
      ["leaver", "stopped"],
      ["newcomer", "running"],
    ]);
    let last = "";
    await until(
      "every machine's state after the return",
      120_000,
      async () => {
        const all = await Promise.all([...stateOf.keys()].map(show));
        last = all.map(({ name, state }) => `${name} ${state}`).join(", ");
        return all.every(({ name, state }) => state === stateOf.get(name)) ? true : undefined;
      },
      250,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)} At last: ${last}`, { cause: error });
    });
    log(`converged ${Date.now() - healedAt} ms after the return`);
    // A task ends a commit after what it waits for.
    const done = await until("the end of the task that waited", 10_000, async () => {
      const progress = taskProgress((await client.task.get({ params: { id: stopping.task ?? "" } })).status as TaskStatus); // a task's record
      return progress?.endedAt === undefined ? undefined : progress;
    });
    assert.equal(done.state, "succeeded");

    // What happened meanwhile, as the host tells it.
    const told = (await show("crasher")).status.agent;
    assert.equal(told?.restarts, restartsBefore + 1);
    const meanwhile = (told?.history ?? []).filter(({ at }) => at >= cutAt);
    assert.deepEqual(
      meanwhile.map(({ state }) => state),
      ["crashed", "starting", "running"],
    );
    assert.match(meanwhile[0]?.reason ?? "", /crashed/);
    for (const [index, { at }] of meanwhile.entries())
      assert.ok(at < healedAt && at >= (meanwhile[index - 1]?.at ?? cutAt), "in the order in which it happened");
    assert.equal(await pidOf(crasher.id), restarted);
    assert.equal(await pidOf(steady.id), pids.get(steady.id));
    for (const on of (await copies(deployment)).values()) assert.equal(on.length, 1);
  });
  await site.must("vm", "delete", "--all", "--wait");
}
