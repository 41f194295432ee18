/** Balancing that knows the habits of machines: what will be hot is relieved before, and nothing is moved to where it will be hot. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HourlyUse } from "@sheaf/planning";
import { balanceAdvice, clusterBalance } from "./cluster-balance.ts";
import { gib, World } from "./world.test-support.ts";

const hourMs = 3_600_000;

/** Hosts with 8 CPUs; machines by host, that use one CPU now and `peak` from six to eight hours from now on every day. */
async function scene(peaks: readonly (readonly number[])[], balancing: Record<string, unknown> = {}) {
  const world = await World.make();
  world.killServer();
  const peakOf = new Map<string, number>();
  const peakHour = Math.floor(world.clock.now() / hourMs) + 6;
  const asked: string[] = [];
  world.history = {
    hourlyCpus: async (vm, hours): Promise<HourlyUse> => {
      asked.push(vm);
      const firstHour = Math.floor(world.clock.now() / hourMs) - hours;
      const busy = (hour: number): boolean => (hour - peakHour) % 24 === 0 || (hour - peakHour - 1) % 24 === 0;
      return { firstHour, values: Array.from({ length: hours }, (_, index) => (busy(firstHour + index) ? (peakOf.get(vm) ?? 1) : 1)) };
    },
  };
  await world.startServer();
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = balancing));
  const hosts: string[] = [];
  const vms: string[] = [];
  for (const [at, machines] of peaks.entries()) {
    hosts.push(await world.addHost(`h${at + 1}`));
    for (const peak of machines) {
      const spec = { memory: { bytes: gib }, cpu: { count: 8 }, placement: { hostSelector: {}, host: hosts[at] } };
      const { vm } = await world.addVm(`vm-${vms.length}`, { disk: "shared", spec });
      world.agents.busyCpus.set(vm, 1);
      peakOf.set(vm, peak);
      vms.push(vm);
    }
  }
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  for (const vm of vms) await world.change("vm", vm, (head) => (head.spec["placement"] = { hostSelector: {} }));
  await world.clock.advance(600_000);
  const site = () => ({ cache: world.cache, clock: world.clock, agents: world.agents, snapshot: world.snapshot, book: world.book });
  const cluster = () => world.cache.get("cluster", world.ids.cluster) ?? assert.fail("no cluster");
  return { world, hosts, vms, asked, look: () => clusterBalance(cluster(), site()), advise: () => balanceAdvice(cluster(), site()) };
}
const balanceTasks = (world: World) => [...world.cache.all("task")].filter(({ spec }) => spec.verb === "balance");

test("automatic: a host that will be hot at its hour is relieved hours before, and then nothing more moves", async () => {
  const { world, hosts, vms } = await scene([[4, 4], [1], [1]], { mode: "automatic" });
  await world.until(() => balanceTasks(world).length > 0, "it is balanced", 1_200_000);
  const [task] = balanceTasks(world);
  assert.equal(await world.taskEnds(task?.id ?? "", 600_000), "succeeded");
  assert.equal(vms.slice(0, 2).filter((vm) => world.vmOn(vm) === hosts[0]).length, 1);
  assert.match(task?.spec.parameters["moves"] ? JSON.stringify(task.spec.parameters["moves"]) : "", /the busiest of now and \d\d:00/);
  await world.clock.advance(4 * hourMs);
  assert.equal(balanceTasks(world).length, 1);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("what is expected is told beside what is; with forecastHours 0, without history, or with balancing off the present alone counts", async () => {
  const { world, look, advise, asked, vms } = await scene([[4, 4], [1], [1]]);
  const seen = look();
  assert.deepEqual([seen.score.hottestPercent.toFixed(0), seen.expected?.hottestPercent.toFixed(0)], ["25", "100"]);
  assert.ok(advise().moves.length > 0);
  assert.equal(new Set(asked).size, vms.length);
  const { length } = asked;
  await world.clock.advance(6 * hourMs);
  assert.equal(asked.length, length, "habits are read twice a day");
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = { forecastHours: 0 }));
  assert.equal(look().expected, undefined);
  assert.deepEqual(advise().moves, []);
  await world.close();

  for (const balancing of [{ mode: "off" }, { forecastHours: 0 }]) {
    const off = await scene([[4, 4], [1]], balancing);
    assert.deepEqual(off.asked, []);
    await off.world.close();
  }
});

test("a hot host is not relieved by one that will be hot", async () => {
  const { world, vms, hosts, advise } = await scene([[1, 1], [7], [1, 1]]);
  // Now the second is the emptiest.
  for (const vm of vms.slice(0, 2)) world.agents.busyCpus.set(vm, 3.8);
  world.agents.busyCpus.set(vms[2] ?? "", 0);
  for (const vm of vms.slice(3)) world.agents.busyCpus.set(vm, 0.7);
  await world.clock.advance(1_800_000);
  assert.deepEqual(
    advise().moves.map(({ to }) => to),
    [hosts[2]],
  );
  await world.change("cluster", world.ids.cluster, (head) => (head.spec["balancing"] = { forecastHours: 0 }));
  assert.deepEqual(
    advise().moves.map(({ to }) => to),
    [hosts[1]],
    "without a forecast it would be",
  );
  await world.close();
});
