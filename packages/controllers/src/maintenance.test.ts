/** Hosts go into maintenance and come back, with the real controllers: what they had comes back, as far as it can. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { taskProgress } from "@sheaf/model";
import { World } from "./world.test-support.ts";

interface Scene {
  readonly world: World;
  readonly host: string;
  readonly vms: readonly string[];
}

/** The machines lie on the first of three hosts. */
async function scene(count: number, options: { disk?: "local" | "shared"; memoryBytes?: number } = {}): Promise<Scene> {
  const world = await World.make({ drainRetryMs: 5000 });
  const host = await world.addHost("h1");
  const vms: string[] = [];
  for (let number = 0; number < count; number += 1)
    vms.push((await world.addVm(`vm-${number}`, { disk: options.disk ?? "shared", spec: { memory: { bytes: 2 ** 30 } } })).vm);
  await world.until(() => vms.every((vm) => world.agents.runningOn(vm).includes(host)), "all run on the first host");
  for (const name of ["h2", "h3"]) await world.addHost(name, options.memoryBytes === undefined ? {} : { memoryBytes: options.memoryBytes });
  return { world, host, vms };
}

const maintain = ({ world, host }: Scene) => world.hostTask("maintain", host, { schedulable: "draining", maintenance: true });
const activate = ({ world, host }: Scene, parameters = {}) =>
  world.hostTask("activate", host, { schedulable: "open", maintenance: false }, parameters);
const part = ({ world, host }: Scene) => world.cache.get("host", host)?.status.maintenance;
const message = ({ world }: Scene, task: string): string => {
  const found = world.cache.get("task", task);
  return (found && taskProgress(found.status)?.message) ?? "";
};
async function end({ world, vms }: Scene): Promise<void> {
  assert.deepEqual(world.agents.violations, []);
  for (const vm of vms) if (world.cache.get("vm", vm)?.spec.power === "running") assert.equal(world.agents.runningOn(vm).length, 1);
  await world.close();
}

test("what a host had comes back when its maintenance ends, a few at a time, and nothing of it is remembered then", async () => {
  const it = await scene(7);
  const { world, host, vms } = it;
  assert.equal(await world.taskEnds(await maintain(it)), "succeeded");
  assert.ok(vms.every((vm) => world.vmOn(vm) !== host));
  assert.deepEqual(
    part(it)
      ?.machines.map(({ vm, epoch }) => [vm, epoch])
      .toSorted(),
    vms.map((vm) => [vm, 2]).toSorted(),
  );
  // Made while the host is away: stays where it is.
  const other = await world.addVm("other", { disk: "shared" });
  await world.until(() => world.agents.runningOn(other.vm).length === 1, "the other one runs");
  const home = world.vmOn(other.vm);
  const task = await activate(it);
  let most = 0;
  await world.until(() => {
    most = Math.max(most, vms.filter((vm) => world.cache.get("vm", vm)?.status.migration !== undefined).length);
    return world.taskState(task) === "succeeded";
  }, "they are back");
  assert.equal(most, 2);
  assert.ok(vms.every((vm) => world.vmOn(vm) === host));
  assert.equal(world.vmOn(other.vm), home);
  assert.equal(part(it), undefined);
  assert.match(message(it, task), /7 machines are back$/);
  await end(it);
});

test("with --no-return they stay where they are", async () => {
  const it = await scene(3);
  const { world, host, vms } = it;
  await world.taskEnds(await maintain(it));
  const task = await activate(it, { noReturn: true });
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.match(message(it, task), /3 machines stay where they are/);
  await world.clock.advance(60_000);
  assert.ok(vms.every((vm) => world.vmOn(vm) !== host));
  assert.equal(part(it), undefined);
  await end(it);
});

test("what a person moved since, what is paused and what finds no room stays, and is named with why", async () => {
  const it = await scene(4);
  const { world, host, vms } = it;
  const [moved = "", paused = "", grown = "", fine = ""] = vms;
  await world.taskEnds(await maintain(it));
  const from = world.vmOn(moved);
  assert.equal(await world.taskEnds(await world.addTask("migrate", "vm", moved)), "succeeded");
  assert.notEqual(world.vmOn(moved), from);
  await world.change("vm", paused, (head) => (head.spec["power"] = "paused"));
  await world.until(() => world.cache.get("vm", paused)?.status.agent?.state === "paused", "it is paused");
  await world.change("host", host, (head) => (head.spec["offeredMemoryBytes"] = 2 * 2 ** 30));
  await world.change("vm", grown, (head) => (head.spec["memory"] = { bytes: 4 * 2 ** 30, hugepages: false }));
  const task = await activate(it);
  assert.equal(await world.taskEnds(task), "succeeded");
  const said = message(it, task);
  assert.match(said, /1 machine are back; 3 stay where they are/);
  assert.match(said, /vm-0 \(it has been moved again since\)/);
  assert.match(said, /vm-1 \(it is paused: resume it first\)/);
  assert.match(said, /vm-2 \(h1: .*memory/);
  assert.equal(world.vmOn(fine), host);
  await end(it);
});

test("a move back that fails is tried three times, then the machine stays and why is said", async () => {
  const it = await scene(1);
  const { world, host, vms } = it;
  const [vm = ""] = vms;
  await world.taskEnds(await maintain(it));
  world.agents.fault = ({ method }) => (method === "migrate.begin" ? "fail" : undefined);
  const task = await activate(it);
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.match(message(it, task), /0 machines are back; 1 stay where they are: vm-0 \(migrate.begin was refused\)/);
  const tries = [...world.cache.all("task")].filter((one) => one.spec.verb === "migrate" && one.spec.parent === task);
  assert.equal(tries.length, 3);
  assert.notEqual(world.vmOn(vm), host);
  await end(it);
});

test("the host reboots during its maintenance; they come back when it is ready, not before", async () => {
  const it = await scene(3);
  const { world, host, vms } = it;
  await world.taskEnds(await maintain(it));
  world.agents.powerOff(host);
  await world.clock.advance(60_000);
  const task = await activate(it);
  await world.clock.advance(60_000);
  assert.equal(world.taskState(task), "running");
  assert.match(message(it, task), /come back when the host is ready/);
  assert.ok(vms.every((vm) => world.vmOn(vm) !== host && world.agents.runningOn(vm).length === 1));
  world.agents.powerOn(host);
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.ok(vms.every((vm) => world.vmOn(vm) === host));
  await end(it);
});

test("maintenance that is asked for again during the return turns everything round; in the end each is home", async () => {
  const it = await scene(6);
  const { world, host, vms } = it;
  await world.taskEnds(await maintain(it));
  const back = await activate(it);
  await world.until(() => vms.some((vm) => world.vmOn(vm) === host), "the first is back");
  const again = await maintain(it);
  assert.equal(await world.taskEnds(again), "succeeded");
  assert.equal(world.taskState(back), "cancelled");
  assert.ok(vms.every((vm) => world.vmOn(vm) !== host));
  assert.equal(await world.taskEnds(await activate(it)), "succeeded");
  assert.ok(
    vms.every((vm) => world.vmOn(vm) === host),
    vms.map((vm) => world.vmOn(vm)).join(),
  );
  await end(it);
});

test("the server is killed at any moment of it: all come back all the same", async () => {
  for (let moment = 0; moment < 12; moment += 1) {
    const it = await scene(4, { disk: "local" });
    const { world, host, vms } = it;
    const down = await maintain(it);
    await world.clock.advance(moment * 70);
    world.killServer();
    await world.startServer();
    assert.equal(await world.taskEnds(down), "succeeded");
    const up = await activate(it);
    await world.clock.advance(moment * 70);
    world.killServer();
    await world.startServer();
    assert.equal(await world.taskEnds(up), "succeeded");
    assert.ok(
      vms.every((vm) => world.vmOn(vm) === host),
      `killed at ${moment * 70} ms: ${message(it, up)}`,
    );
    await end(it);
  }
});
