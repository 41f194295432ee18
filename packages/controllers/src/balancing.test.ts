/** Clusters are balanced by real controllers: on a person's word, by themselves, and not for a passing peak. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { taskProgress, type RecordOf } from "@sheaf/model";
import { balanceAdvice } from "./cluster-balance.ts";
import { gib, World } from "./world.test-support.ts";

/** Three hosts with 8 CPUs; all machines on the first, which they keep busy as `busy` says. */
async function scene(busy: readonly number[], balancing: Record<string, unknown> = {}, spec: Record<string, unknown> = {}) {
  const world = await World.make();
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = balancing));
  const hosts = [await world.addHost("h1")];
  const vms: string[] = [];
  for (const [at, cpus] of busy.entries()) {
    const { vm } = await world.addVm(`vm-${at}`, { disk: "shared", spec });
    world.agents.busyCpus.set(vm, cpus);
    vms.push(vm);
  }
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  for (const name of ["h2", "h3"]) hosts.push(await world.addHost(name));
  // Placements are old enough to be moved again.
  await world.clock.advance(120_000);
  return { world, hosts, vms };
}
const balanceTasks = (world: World): RecordOf<"task">[] => [...world.cache.all("task")].filter(({ spec }) => spec.verb === "balance");
const placesOf = (world: World, vms: readonly string[]) => vms.map((vm) => world.vmOn(vm));
async function end(world: World): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("automatic: a host that stays hot is relieved, by few moves, and it is told what was promised and what came of it", async () => {
  const { world, hosts, vms } = await scene([4, 2, 1.2, 0.5], { mode: "automatic" });
  await world.until(() => balanceTasks(world).length > 0, "it is balanced", 900_000);
  const [task] = balanceTasks(world);
  assert.ok(task);
  assert.equal(await world.taskEnds(task.id, 600_000), "succeeded");
  const progress = taskProgress(world.cache.get("task", task.id)?.status ?? {});
  assert.match(progress?.message ?? "", /^1 of 1 machines moved: hottest host 96 → 50 % \(50 promised\), spread \d+ → \d+ points/);
  assert.deepEqual(
    progress?.steps?.map(({ state }) => state),
    ["done"],
  );
  const places = placesOf(world, vms);
  assert.notEqual(places[0], hosts[0], "the busiest alone helps");
  assert.deepEqual(places.slice(1), [hosts[0], hosts[0], hosts[0]]);
  // Some minutes later the mean is all of the time after it: by whichever server leads then, and once.
  const settled = () => taskProgress(world.cache.get("task", task.id)?.status ?? {})?.result?.["settled"] as { hottestPercent: number } | undefined;
  await world.clock.advance(300_000);
  assert.equal(settled(), undefined);
  world.killServer();
  await world.startServer();
  await world.until(() => settled() !== undefined, "it is measured again", 600_000);
  assert.equal(settled()?.hottestPercent.toFixed(0), "50");
  const { revision } = world.cache.get("task", task.id) ?? {};
  // It is well now: nothing more moves.
  await world.clock.advance(6 * 3_600_000);
  assert.equal(world.cache.get("task", task.id)?.revision, revision);
  assert.equal(balanceTasks(world).length, 1);
  await end(world);
});

test("a passing peak moves nothing, nor does unevenness alone, nor `advise`", async () => {
  for (const [busy, balancing] of [
    [[1, 0.5], { mode: "automatic" }],
    [[6, 1.5], { mode: "advise" }],
    [[6, 1.5], { mode: "off" }],
  ] as const) {
    const { world, vms } = await scene(busy, balancing);
    const [first = ""] = vms;
    if (balancing.mode === "automatic") {
      world.agents.busyCpus.set(first, 8);
      await world.clock.advance(90_000);
      world.agents.busyCpus.set(first, 1);
    }
    await world.clock.advance(3_600_000);
    assert.deepEqual(balanceTasks(world), []);
    await end(world);
  }
});

const adviceOf = ({ cache, clock, agents, snapshot, book }: World) => {
  const cluster = cache.byName("cluster", "-", "default");
  assert.ok(cluster);
  return balanceAdvice(cluster, { cache, clock, agents, snapshot, book });
};

test("what is promised to stopped machines is taken: of several that would fit alone only so many go as fit together", async () => {
  const { world, hosts } = await scene([1, 1, 1, 1, 1, 1, 1], { goal: "even" }, { memory: { bytes: 2 * gib } });
  const [, h2 = "", h3 = ""] = hosts;
  await world.change("host", h3, (head) => (head.spec["schedulable"] = "cordoned"));
  const { vm } = await world.addVm("stopped", { spec: { power: "stopped", memory: { bytes: 13 * gib } } });
  await world.until(() => world.vmOn(vm) === h2, "the stopped one takes its room");
  await world.clock.advance(600_000);
  assert.equal(adviceOf(world).moves.length, 1);
  await end(world);
});

test("a machine that has moved, by whomever, stays for a while", async () => {
  const { world, hosts, vms } = await scene([4, 2, 1.5]);
  for (const vm of vms.slice(1)) await world.taskEnds(await world.addTask("migrate", "vm", vm, { parameters: { host: hosts[1] } }));
  assert.deepEqual(placesOf(world, vms), [hosts[0], hosts[1], hosts[1]]);
  for (const [at, cpus] of [4, 5, 3].entries()) world.agents.busyCpus.set(vms[at] ?? "", cpus);
  await world.clock.advance(25 * 60_000);
  assert.ok(adviceOf(world).score.hottestPercent > 85);
  assert.deepEqual(adviceOf(world).moves, []);
  await world.clock.advance(10 * 60_000);
  assert.equal(adviceOf(world).moves.length, 1);
  await end(world);
});

test("of a host that offers a share of itself only what its machines use counts", async () => {
  const { world, hosts } = await scene([2]);
  const [h1 = ""] = hosts;
  world.agents.otherCpus.set(h1, 4);
  const cpuPercent = (): number | undefined => adviceOf(world).hosts.find(({ host }) => host === h1)?.cpuPercent;
  await world.clock.advance(3_600_000);
  assert.equal(cpuPercent(), 75);
  await world.change("host", h1, (head) => (head.spec["offeredCpus"] = 4));
  await world.clock.advance(3_600_000);
  assert.equal(cpuPercent(), 50);
  await end(world);
});

test("advice names no machine that may not move, and none goes where its rules forbid it", async () => {
  const settled = await scene([5, 2.5], {}, { placement: { hostSelector: {}, settled: true } });
  await settled.world.clock.advance(600_000);
  assert.deepEqual(adviceOf(settled.world).moves, []);
  assert.equal(Math.round(adviceOf(settled.world).score.hottestPercent), 94);
  await end(settled.world);

  const together = await scene([5, 2.5], {}, { placement: { hostSelector: {}, together: "pair" } });
  await together.world.clock.advance(600_000);
  assert.deepEqual(adviceOf(together.world).moves, [], "they stay together, whatever the use");
  await end(together.world);

  const free = await scene([5, 2.5]);
  await free.world.clock.advance(600_000);
  assert.deepEqual(
    adviceOf(free.world).moves.map(({ name }) => name),
    ["vm-0"],
  );
  await free.world.change("host", free.hosts[1] ?? "", (head) => (head.spec["schedulable"] = "cordoned"));
  await free.world.change("host", free.hosts[2] ?? "", (head) => (head.spec["schedulable"] = "cordoned"));
  assert.deepEqual(adviceOf(free.world).moves, [], "no host is open");
  await end(free.world);
});

test("moves that fail are told, the others go on, and it is tried again after a pause", async () => {
  const { world, vms } = await scene([3, 3, 1], { mode: "automatic", hotPercent: 50, pauseMinutes: 10, patienceMinutes: 1 });
  world.agents.fault = ({ method }) => (method === "migrate.begin" ? "fail" : undefined);
  await world.until(() => balanceTasks(world).some(({ status }) => taskProgress(status)?.state === "failed"), "it fails", 1_800_000);
  const [failed] = balanceTasks(world);
  assert.match(failed?.status.controller?.problem?.next ?? "", /sheaf cluster balance default/);
  assert.match(failed?.status.controller?.steps?.[0]?.name ?? "", /migrate.begin was refused/);
  world.agents.fault = () => undefined;
  await world.until(() => balanceTasks(world).some(({ status }) => taskProgress(status)?.state === "succeeded"), "it succeeds later", 3_600_000);
  assert.ok(vms.every((vm) => world.agents.runningOn(vm).length === 1));
  await end(world);
});

test("a server that is killed at any moment of a plan leaves it to the next one: every machine once, and the plan ends", async () => {
  for (const afterMs of [1, 20, 60, 150, 400, 1000, 3000]) {
    const { world, vms } = await scene([2, 2, 1.5, 1.5], { mode: "automatic", patienceMinutes: 1 });
    await world.until(() => balanceTasks(world).length > 0, "it is balanced", 900_000);
    await world.clock.advance(afterMs);
    world.killServer();
    await world.startServer();
    const [task] = balanceTasks(world);
    assert.ok(task);
    await world.taskEnds(task.id, 600_000);
    assert.doesNotMatch(world.cache.get("task", task.id)?.status.controller?.message ?? "", / 0 %/, "what is not known is not told");
    // The moment at which a migration is given up is its own; then there is a second plan.
    const relieved = (): boolean => balanceTasks(world).some(({ status }) => taskProgress(status)?.state === "succeeded");
    await world.until(relieved, "the host is relieved", 3 * 3_600_000);
    assert.ok(vms.every((vm) => world.agents.runningOn(vm).length === 1));
    await end(world);
  }
});

test("cancelled: what is under way ends, the rest stays", async () => {
  const { world, hosts, vms } = await scene([1, 1, 1, 1, 1, 1, 1], { mode: "automatic", goal: "even", patienceMinutes: 1 });
  world.agents.copyMs = 60_000;
  await world.until(() => balanceTasks(world).some(({ status }) => status.controller?.state === "running"), "it has begun", 900_000);
  const [task] = balanceTasks(world);
  assert.ok(task);
  await world.change("task", task.id, (head) => (head.spec["cancelRequestedAt"] = world.clock.now()));
  assert.equal(await world.taskEnds(task.id, 600_000), "cancelled");
  const states = world.cache.get("task", task.id)?.status.controller?.steps?.map(({ state }) => state) ?? [];
  assert.ok(states.includes("failed"), "some were left");
  assert.equal(placesOf(world, vms).filter((host) => host !== hosts[0]).length, states.filter((state) => state === "done").length);
  await end(world);
});
