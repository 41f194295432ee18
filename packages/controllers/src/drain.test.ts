import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { partKey } from "@sheaf/model";
import { evacuationOf } from "./evacuation.ts";
import { MachineMoves } from "./machine-moves.ts";
import { World } from "./world.test-support.ts";

const gib = 2 ** 30;

async function drainable(count: number, disk: "local" | "shared") {
  const world = await World.make({ drainRetryMs: 5000 });
  const host = await world.addHost("h1");
  const vms: string[] = [];
  for (let number = 0; number < count; number += 1) vms.push((await world.addVm(`vm-${number}`, { disk })).vm);
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  return { world, host, vms };
}
const setSchedulable = (world: World, host: string, schedulable: string) =>
  world.change("host", host, (head) => (head.spec["schedulable"] = schedulable));

test("a draining host is emptied, two at a time, and its task ends", async () => {
  const { world, host, vms } = await drainable(7, "local");
  await world.addHost("h2");
  await world.addHost("h3");
  const task = await world.drain(host);
  let most = 0;
  await world.until(() => {
    most = Math.max(most, vms.filter((vm) => world.cache.get("vm", vm)?.status.migration !== undefined).length);
    return world.taskState(task) === "succeeded";
  }, "it is empty");
  assert.equal(most, 2);
  assert.ok(vms.every((vm) => world.vmOn(vm) !== host));
  assert.deepEqual(world.cache.get("host", host)?.status.drain, { remaining: 0, stuck: [], done: true });
  const moves = [...world.cache.all("task")].filter((one) => one.spec.verb === "migrate");
  assert.equal(moves.length, 7);
  assert.ok(moves.every((move) => move.spec.parent === task));
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("machines that belong together are moved to one other host, by whichever rule", async () => {
  for (const placement of [{ together: "pair" }, { rules: [{ group: "pair", keep: "together", within: "host" }] }]) {
    const world = await World.make({ drainRetryMs: 5000 });
    const host = await world.addHost("h1");
    const vms: string[] = [];
    for (const name of ["a", "b", "c"])
      vms.push((await world.addVm(name, { disk: "shared", spec: { placement: { hostSelector: {}, ...placement } } })).vm);
    await world.until(() => vms.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
    for (const name of ["h2", "h3"]) await world.addHost(name);
    const { cache, agents, snapshot } = world;
    const record = cache.get("host", host);
    assert.ok(record);
    const check = evacuationOf(record, [...cache.all("vm")], { cache, agents, snapshot });
    assert.deepEqual(check.cannotMove, [], "told before");
    const task = await world.drain(host);
    await world.until(() => world.taskState(task) === "succeeded", "it is empty", 600_000);
    const at = new Set(vms.map((vm) => world.vmOn(vm)));
    assert.equal(at.size, 1);
    assert.ok(!at.has(host));
    assert.deepEqual(world.agents.violations, []);
    await world.close();
  }
});

test("what cannot move is told with why; it moves when it can", async () => {
  const { world, host, vms } = await drainable(2, "local");
  const [stopped = "", running = ""] = vms;
  await world.change("vm", stopped, (head) => (head.spec["power"] = "stopped"));
  await world.until(() => world.cache.get("vm", stopped)?.status.agent?.state === "stopped", "it is stopped");
  await setSchedulable(world, host, "draining");
  const stuck = () => world.cache.get("host", host)?.status.drain?.stuck ?? [];
  await world.until(() => stuck().length === 2, "both are stuck");
  assert.match(stuck().find((one) => one.vm === stopped)?.why ?? "", /lies on its host alone/);
  assert.match(stuck().find((one) => one.vm === running)?.why ?? "", /no other host in its cluster/);
  const other = await world.addHost("h2");
  await world.until(() => world.vmOn(running) === other, "the running one moves");
  await world.until(() => stuck().length === 1, "one is left");
  await world.change("vm", stopped, (head) => (head.spec["power"] = "running"));
  await world.until(() => world.vmOn(stopped) === other, "the other moves");
  await world.until(() => world.cache.get("host", host)?.status.drain?.done === true, "it is empty");
  await world.close();
});

test("stopped machines with shared disks are given over", async () => {
  const { world, host, vms } = await drainable(3, "shared");
  for (const vm of vms) await world.change("vm", vm, (head) => (head.spec["power"] = "stopped"));
  await world.until(() => vms.every((vm) => world.cache.get("vm", vm)?.status.agent?.state === "stopped"), "all are stopped");
  const other = await world.addHost("h2");
  await setSchedulable(world, host, "draining");
  await world.until(() => vms.every((vm) => world.vmOn(vm) === other), "all are elsewhere");
  assert.ok(!world.agents.calls.some((call) => call.method === "migrate.begin"));
  await world.close();
});

test("a move that fails is told and tried again after a while", async () => {
  const { world, host, vms } = await drainable(1, "local");
  const other = await world.addHost("h2");
  let failures = 0;
  world.agents.fault = (call) => (call.method === "migrate.prepare" && (failures += 1) <= 2 ? "fail" : undefined);
  await setSchedulable(world, host, "draining");
  await world.until(() => (world.cache.get("host", host)?.status.drain?.stuck.length ?? 0) === 1, "the failure is told");
  assert.match(world.cache.get("host", host)?.status.drain?.stuck[0]?.why ?? "", /migrate.prepare was refused/);
  const since = world.clock.monotonic();
  await world.until(() => world.vmOn(vms[0] ?? "") === other, "it moves in the end");
  assert.ok(world.clock.monotonic() - since > 4000, "not at once again");
  await world.close();
});

test("activated again, the drain ends where it is, and its task is cancelled", async () => {
  const { world, host, vms } = await drainable(4, "local");
  await world.addHost("h2");
  world.agents.copyMs = 20_000;
  const task = await world.drain(host, { maximumParallelMigrations: 1 });
  await world.until(() => vms.some((vm) => world.cache.get("vm", vm)?.status.migration !== undefined), "the first moves");
  await setSchedulable(world, host, "open");
  assert.equal(await world.taskEnds(task), "cancelled");
  await world.clock.advance(120_000);
  assert.equal(vms.filter((vm) => world.vmOn(vm) === host).length, 3);
  assert.equal(world.cache.get("host", host)?.status.drain, undefined);
  await world.close();
});

test("a server killed in the middle of a drain: it goes on, nobody runs twice", async () => {
  const { world, host, vms } = await drainable(5, "local");
  await world.addHost("h2");
  const task = await world.drain(host);
  for (const ms of [120, 90, 260]) {
    await world.clock.advance(ms);
    world.killServer();
    await world.startServer();
  }
  assert.equal(await world.taskEnds(task), "succeeded");
  for (const vm of vms) assert.equal(world.agents.runningOn(vm).length, 1);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

/** Draining, with one machine that finds no room. Nothing is tried again by itself. @returns how often all hosts were ranked since, too */
async function stuckForRoom(t: TestContext, others: number) {
  const world = await World.make({ drainRetryMs: 3_600_000 });
  const host = await world.addHost("h1", { memoryBytes: 64 * gib });
  const { vm } = await world.addVm("big", { disk: "shared", spec: { memory: { bytes: 20 * gib } } });
  await world.until(() => world.agents.runningOn(vm).length === 1, "it runs");
  const hosts: string[] = [];
  for (let number = 0; number < others; number += 1) hosts.push(await world.addHost(`small-${number}`, { memoryBytes: 8 * gib }));
  await setSchedulable(world, host, "draining");
  await world.until(() => (world.cache.get("host", host)?.status.drain?.stuck.length ?? 0) === 1, "it is stuck");
  await world.clock.advance(10_000);
  const ranked = t.mock.method(MachineMoves.prototype, "choose").mock;
  return { world, host, vm, hosts, looks: () => ranked.callCount() };
}

test("a drain that waits for room ranks the hosts when one gained room that may do, and for no other change", async (t) => {
  const { world, vm, hosts, looks } = await stuckForRoom(t, 30);
  for (const id of hosts) {
    await world.change("host", id, (head) => (head.labels = { rack: "7" }));
    await world.write([{ put: partKey("host", id, "status/clock"), value: JSON.stringify({ skewMs: 5, at: 0 }) }]);
    await world.clock.advance(1500);
  }
  const { vm: small } = await world.addVm("small", { disk: "shared" });
  await world.until(() => world.agents.runningOn(small).length === 1, "another runs");
  await world.write(["spec", "placement", "status/agent"].map((part) => ({ delete: partKey("vm", small, part) })));
  await world.clock.advance(5000);
  assert.equal(looks(), 0);
  const roomy = await world.addHost("roomy", { memoryBytes: 64 * gib });
  await world.until(() => world.vmOn(vm) === roomy, "it moves");
  await world.close();
});

test("a drain that many hosts could help ranks them once in a while, not once for each", async (t) => {
  const { world, vm, host, looks } = await stuckForRoom(t, 0);
  await world.change("vm", vm, (head) => (head.spec["placement"] = { hostSelector: { here: "yes" } }));
  await world.change("host", host, (head) => (head.labels = { here: "yes" }));
  const roomy: string[] = [];
  for (let number = 0; number < 5; number += 1) roomy.push(await world.addHost(`roomy-${number}`, { memoryBytes: 64 * gib }));
  await world.clock.advance(5000);
  const before = looks();
  const since = world.clock.monotonic();
  for (let turn = 0; turn < 40; turn += 1) await world.change("host", roomy[turn % 5] ?? "", (head) => (head.labels = { turn: String(turn) }));
  await world.clock.advance(5000);
  const most = 2 + (world.clock.monotonic() - since - 5000) / 1000;
  assert.ok(looks() - before >= 1 && looks() - before <= most, `${looks() - before} looks at all hosts for 40 changes`);
  // The last change counts, too.
  await world.change("host", roomy[0] ?? "", (head) => (head.labels = { here: "yes" }));
  await world.until(() => world.vmOn(vm) === roomy[0], "it moves", 5000);
  await world.close();
});
