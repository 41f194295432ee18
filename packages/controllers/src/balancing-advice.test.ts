/** Advice that waits for a person, windows and budgets: what stands in the cluster's record, for how long, and what moves when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { partKey, taskProgress, type RecordOf } from "@sheaf/model";
import { gib, World } from "./world.test-support.ts";

/** Hosts with 8 CPUs; all machines on the first, which they keep busy as `busy` says. */
async function scene(busy: readonly number[], balancing: Record<string, unknown> = {}, labels: Record<string, string> = {}) {
  const world = await World.make();
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = balancing));
  const hosts = [await world.addHost("h1")];
  const vms: string[] = [];
  for (const [at, cpus] of busy.entries()) {
    const { vm } = await world.addVm(`vm-${at}`, { disk: "shared", spec: { memory: { bytes: gib } } });
    await world.change("vm", vm, (head) => (head.labels = labels));
    world.agents.busyCpus.set(vm, cpus);
    vms.push(vm);
  }
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  for (const name of ["h2", "h3"]) hosts.push(await world.addHost(name));
  await world.clock.advance(120_000);
  return { world, hosts, vms };
}
const clusterOf = (world: World): RecordOf<"cluster"> => world.cache.get("cluster", world.ids.cluster) ?? assert.fail("no cluster");
const adviceOf = (world: World) => clusterOf(world).status.advice;
const balanceTasks = (world: World): RecordOf<"task">[] => [...world.cache.all("task")].filter(({ spec }) => spec.verb === "balance");
async function end(world: World): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  await world.close();
}

test("advise: what helps stands in the record with an id and since when, stays the same while it holds, and goes when it is needless", async () => {
  const { world, vms } = await scene([4, 2, 1.2, 0.5]);
  const calledFor = world.clock.now();
  await world.until(() => adviceOf(world) !== undefined, "it is advised", 900_000);
  const first = adviceOf(world);
  assert.ok(first);
  assert.deepEqual(
    first.moves.map(({ vm }) => vm),
    [vms[0]],
  );
  assert.ok(first.since >= calledFor - 120_000 && first.since <= world.clock.now() - 300_000, "since it was called for, not since it was said");
  assert.ok(first.before.hottestPercent > 85 && first.promised.hottestPercent < 60);
  // Loads that wander change nothing of it, nor is anything written.
  const { revision } = clusterOf(world);
  for (let minute = 0; minute < 120; minute += 1) {
    for (const [at, vm] of vms.entries()) world.agents.busyCpus.set(vm, ([4, 2, 1.2, 0.5][at] ?? 0) * (0.97 + 0.06 * ((minute * 7 + at) % 2)));
    await world.clock.advance(60_000);
  }
  assert.equal(adviceOf(world)?.id, first.id);
  assert.equal(clusterOf(world).revision, revision, "nothing is written");
  assert.deepEqual(balanceTasks(world), []);
  // Another server leads: it keeps what stands there.
  world.killServer();
  await world.startServer();
  await world.clock.advance(1_200_000);
  assert.equal(adviceOf(world)?.id, first.id);
  // It passes by itself.
  world.agents.busyCpus.set(vms[0] ?? "", 1);
  await world.until(() => adviceOf(world) === undefined, "it is withdrawn", 3_600_000);
  await end(world);
});

test("advice that does not hold any more is made anew, as another one, called for since the same moment", async () => {
  const { world, hosts } = await scene([4, 2, 1.2, 0.5]);
  await world.until(() => adviceOf(world) !== undefined, "it is advised", 900_000);
  const first = adviceOf(world);
  const target = first?.moves[0]?.to;
  // By another server, which has not seen how it came to be.
  world.killServer();
  await world.startServer();
  await world.change("host", target ?? "", (head) => (head.spec["schedulable"] = "cordoned"));
  await world.until(() => adviceOf(world)?.id !== first?.id, "another one is advised", 900_000);
  const second = adviceOf(world);
  assert.equal(second?.since, first?.since);
  assert.deepEqual(
    second?.moves.map(({ to }) => to),
    hosts.slice(1).filter((host) => host !== target),
  );
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = { mode: "off" }));
  await world.until(() => adviceOf(world) === undefined, "with balancing off there is none", 60_000);
  await end(world);
});

test("a dismissed move is not advised again until its time is over: others are, if they help", async () => {
  const { world, hosts, vms } = await scene([4, 2, 1.2, 0.5]);
  await world.until(() => adviceOf(world) !== undefined, "it is advised", 900_000);
  const until = world.clock.now() + 7_200_000;
  const moves = [{ vm: vms[0], from: hosts[0], by: "admin", at: world.clock.now(), until }];
  await world.store.transact({
    compare: [],
    then: [{ put: partKey("cluster", world.ids.cluster, "status/dismissals"), value: JSON.stringify({ moves }) }],
  });
  await world.until(() => adviceOf(world)?.moves.every(({ vm }) => vm !== vms[0]) === true, "others are advised", 300_000);
  await world.clock.advance(until - world.clock.now() - 60_000);
  assert.ok(adviceOf(world)?.moves.every(({ vm }) => vm !== vms[0]));
  await world.clock.advance(120_000);
  // The other advice holds still; a new one may be about any machine again.
  await world.change("host", adviceOf(world)?.moves[0]?.to ?? "", (head) => (head.spec["schedulable"] = "cordoned"));
  await world.clock.advance(1_200_000);
  assert.deepEqual(
    adviceOf(world)?.moves.map(({ vm }) => vm),
    [vms[0]],
  );
  await end(world);
});

test("automatic with windows: outside of them there is advice and nothing moves; when one opens it begins, when it closes the rest is left", async () => {
  const { world, vms, hosts } = await scene([1, 1, 1, 1, 1, 1, 1]);
  const hours = (at: number): string => `${String(Math.floor((at / 3_600_000) % 24)).padStart(2, "0")}:00`;
  const opens = Math.ceil(world.clock.now() / 3_600_000) * 3_600_000 + 2 * 3_600_000;
  const windows = [{ from: hours(opens), to: hours(opens + 3_600_000), timeZone: "UTC" }];
  await world.change(
    "cluster",
    world.ids.cluster,
    (head) => (head.spec["balancing"] = { mode: "automatic", goal: "even", patienceMinutes: 1, windows }),
  );
  await world.clock.advance(opens - world.clock.now() - 60_000);
  assert.deepEqual(balanceTasks(world), []);
  assert.ok((adviceOf(world)?.moves.length ?? 0) > 1);
  world.agents.copyMs = 300_000;
  await world.clock.advance(180_000);
  const [task] = balanceTasks(world);
  assert.ok(task, "the window is open");
  assert.equal(adviceOf(world), undefined);
  const earlier = [{ ...windows[0], to: hours(opens), from: hours(opens - 3_600_000) }];
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = { mode: "automatic", goal: "even", windows: earlier }));
  await world.taskEnds(task.id, 3 * 3_600_000);
  const states = world.cache.get("task", task.id)?.status.controller?.steps ?? [];
  assert.ok(states.some(({ state }) => state === "done"));
  assert.ok(
    states.some(({ name }) => name.includes(`the window opens`)),
    JSON.stringify(states),
  );
  assert.ok(vms.some((vm) => world.vmOn(vm) !== hosts[0]));
  await end(world);
});

test("automatic with budgets: no more moves begin in any hour than are allowed, of the cluster and of each host", async () => {
  for (const [limits, most] of [
    [{ movesPerHour: 2 }, 2],
    [{ movesPerHostPerHour: 1 }, 1],
  ] as const) {
    const { world, vms, hosts } = await scene([1, 1, 1, 1, 1, 1, 1], {
      mode: "automatic",
      goal: "even",
      unevenPoints: 5,
      patienceMinutes: 1,
      pauseMinutes: 1,
      ...limits,
    });
    await world.clock.advance(5 * 3_600_000);
    const begun = balanceTasks(world)
      .flatMap(({ status }) => (taskProgress(status)?.result?.["moves"] ?? []) as { begunAt?: number }[]) // written by the controller
      .flatMap(({ begunAt }) => begunAt ?? [])
      .toSorted((a, b) => a - b);
    assert.ok(begun.length >= 3, `${begun.length} moves`);
    for (const at of begun) assert.ok(begun.filter((other) => other >= at && other < at + 3_600_000).length <= most);
    assert.ok(vms.filter((vm) => world.vmOn(vm) === hosts[0]).length <= 4);
    await end(world);
  }
});

test("machines with certain labels stay, and a machine that moved stays for its own time", async () => {
  const { world, vms, hosts } = await scene([6, 1.5], { settledLabels: [{ tier: "db", site: "a" }] }, { tier: "db", site: "a", more: "x" });
  await world.clock.advance(1_800_000);
  assert.equal(adviceOf(world), undefined);
  await world.change("vm", vms[0] ?? "", (head) => (head.labels = { tier: "db" }));
  await world.until(() => adviceOf(world) !== undefined, "one without both labels may move", 600_000);
  await end(world);
  const cooling = await scene([4, 2, 1.5], { machineCooldownMinutes: 240, pauseMinutes: 1 });
  await cooling.world.taskEnds(await cooling.world.addTask("migrate", "vm", cooling.vms[0] ?? "", { parameters: { host: cooling.hosts[1] } }));
  await cooling.world.taskEnds(await cooling.world.addTask("migrate", "vm", cooling.vms[1] ?? "", { parameters: { host: cooling.hosts[1] } }));
  cooling.world.agents.busyCpus.set(cooling.vms[1] ?? "", 4);
  await cooling.world.clock.advance(3 * 3_600_000);
  assert.equal(adviceOf(cooling.world), undefined);
  await cooling.world.clock.advance(70 * 60_000);
  assert.ok(adviceOf(cooling.world));
  assert.notEqual(hosts, cooling.hosts);
  await end(cooling.world);
});
