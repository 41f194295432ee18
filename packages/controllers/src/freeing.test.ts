/** Goal `consolidate`: machines are put together on few hosts by real controllers, within what the rules and the room for the loss of hosts allow. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { taskProgress, type RecordOf } from "@sheaf/model";
import { balanceAdvice } from "./cluster-balance.ts";
import { gib, World } from "./world.test-support.ts";

interface Scene {
  readonly balancing?: Record<string, unknown>;
  readonly power?: Record<string, unknown>;
  readonly highAvailability?: Record<string, unknown>;
  readonly spec?: Record<string, unknown>;
}

/** As many hosts with 8 CPUs and 16 GiB as there are lists, each with machines that keep so many CPUs busy. */
async function scene(busy: readonly (readonly number[])[], { balancing = {}, power = {}, highAvailability = {}, spec = {} }: Scene = {}) {
  const world = await World.make();
  await world.change("cluster", world.ids.cluster, (head) => {
    head.spec["balancing"] = { mode: "advise", goal: "consolidate", ...balancing };
    head.spec["power"] = { spareHosts: 0, ...power };
    head.spec["highAvailability"] = { ...(head.spec["highAvailability"] as object), ...highAvailability };
  });
  const hosts: string[] = [];
  const vms: string[] = [];
  for (const [at, its] of busy.entries()) {
    const host = await world.addHost(`h${at + 1}`);
    for (const cpus of its) {
      const { vm } = await world.addVm(`vm-${vms.length}`, { disk: "shared", spec });
      world.agents.busyCpus.set(vm, cpus);
      vms.push(vm);
      await world.until(() => world.agents.runningOn(vm).length === 1, "it runs");
    }
    // The next host's machines go there.
    await world.change("host", host, (head) => (head.spec["schedulable"] = "cordoned"));
    hosts.push(host);
  }
  for (const host of hosts) await world.change("host", host, (head) => (head.spec["schedulable"] = "open"));
  await world.clock.advance(120_000);
  return { world, hosts, vms };
}

const adviceOf = ({ cache, clock, agents, snapshot, book }: World) => {
  const cluster = cache.byName("cluster", "-", "default");
  assert.ok(cluster);
  return balanceAdvice(cluster, { cache, clock, agents, snapshot, book });
};
const balanceTasks = (world: World): RecordOf<"task">[] => [...world.cache.all("task")].filter(({ spec }) => spec.verb === "balance");
async function end(world: World): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("automatic: hosts come free, no host is filled above the target, and then nothing moves any more", async () => {
  const { world, hosts, vms } = await scene([[2], [2, 1], [1], [1.5]], { balancing: { mode: "automatic", pauseMinutes: 1 } });
  await world.until(() => balanceTasks(world).length > 0, "a host is to come free", 900_000);
  await world.clock.advance(12 * 3_600_000);
  const tasks = balanceTasks(world);
  assert.ok(tasks.every(({ status }) => taskProgress(status)?.state === "succeeded"));
  assert.match(taskProgress(tasks[0]?.status ?? {})?.steps?.[0]?.name ?? "", /comes free; h\d \d+ → \d+ %/);
  const carrying = new Set(vms.map((vm) => world.vmOn(vm)));
  // 7.5 CPUs of 8 a host, 80 % of it at most: two hosts.
  assert.equal(carrying.size, 2);
  assert.equal(tasks.length, 1, "one plan was enough");
  assert.ok(adviceOf(world).score.hottestPercent <= 80);
  assert.equal(hosts.length, 4);
  await end(world);
});

test("the room for the loss of hosts stays: as many hosts as it takes are kept", async () => {
  const spec = { highlyAvailable: true, memory: { bytes: 4 * gib } };
  const busy = [[0.5], [0.5], [0.5]];
  const without = await scene(busy, { spec });
  assert.equal(adviceOf(without.world).frees.length, 2);
  await end(without.world);
  const { world } = await scene(busy, { spec, highAvailability: { toleratedHostFailures: 1 } });
  assert.equal(adviceOf(world).frees.length, 1, "were both freed, nobody could take what the last one loses");
  await end(world);
});

test("what is too hot comes first; rules that only the scheduler knows are kept", async () => {
  const hot = await scene([[4, 3.5], [0.5]]);
  assert.deepEqual([adviceOf(hot.world).frees, adviceOf(hot.world).moves.length], [[], 1]);
  await end(hot.world);
  // Two machines that would fit alone, whose memory does not fit together: what is promised counts as it is while they move.
  const { world } = await scene([[0.1], [0.1], [0.1]], { spec: { memory: { bytes: 7 * gib } } });
  assert.deepEqual(adviceOf(world).frees.length, 1);
  await end(world);
});

test("where what comes free is to sleep, only hosts that may are emptied", async () => {
  const { world, hosts } = await scene([[0.5], [0.5, 0.5]], { power: { mode: "automatic" } });
  const [h1 = "", h2 = ""] = hosts;
  assert.deepEqual(adviceOf(world).frees, [], "there is no way to wake them");
  const wakeOnLan = { mac: "52:54:00:00:00:01", port: 9 };
  for (const id of [h1, h2]) await world.change("host", id, (head) => (head.spec["power"] = { sleep: "allowed", wakeOnLan }));
  assert.deepEqual(adviceOf(world).frees, ["h1"]);
  await world.change("host", h1, (head) => (head.spec["power"] = { sleep: "never", wakeOnLan }));
  assert.deepEqual(adviceOf(world).frees, ["h2"]);
  await end(world);
});

test("carried out on a person's word, it tells which hosts come free", async () => {
  const { world } = await scene([[1], [1]]);
  const { moves, frees, score, promised } = adviceOf(world);
  assert.equal(frees.length, 1);
  const id = await world.addTask("balance", "cluster", world.ids.cluster, { parameters: { moves, frees, before: score, promised } });
  assert.equal(await world.taskEnds(id), "succeeded");
  assert.match(taskProgress(world.cache.get("task", id)?.status ?? {})?.message ?? "", /^1 of 1 machines moved/);
  await end(world);
});
