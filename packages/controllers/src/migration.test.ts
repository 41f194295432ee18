/** Live migration with simulated agents: the plain way, refusals, cancelling, and every state of planning's table × every fault, with the invariants of "never twice". */
import assert from "node:assert/strict";
import { test } from "node:test";
import { migrationStates, migrationTable, type MigrationState } from "@sheaf/planning";
import type { CallFault, CallRecord } from "./simulated-agents.test-support.ts";
import { gib, World } from "./world.test-support.ts";

async function runningMachine(settings: { disk?: "local" | "shared" } = {}) {
  const world = await World.make();
  const source = await world.addHost("h1");
  const { vm, task, volume = "" } = await world.addVm("web", { disk: settings.disk ?? "shared" });
  assert.equal(await world.taskEnds(task), "succeeded");
  const target = await world.addHost("h2");
  return { world, source, target, vm, volume };
}

/** Faults are over: exactly one copy runs, where the store says. */
async function settled(world: World, vm: string): Promise<void> {
  await world.until(
    () => {
      const record = world.cache.get("vm", vm);
      const host = record?.placement?.host ?? "";
      return record?.status.migration === undefined && world.agents.runningOn(vm).join() === host && world.agents.anythingOn(vm).join() === host;
    },
    "one copy runs, where the store says",
    300_000,
  );
  await world.clock.advance(60_000);
  assert.deepEqual(world.agents.violations, []);
  assert.deepEqual(world.agents.runningOn(vm), [world.vmOn(vm)]);
}

test("a machine moves with its disk: the epoch grows by one, the task tells the figures", async () => {
  const { world, target, vm, volume } = await runningMachine({ disk: "local" });
  const task = await world.addTask("migrate", "vm", vm);
  assert.equal(await world.taskEnds(task), "succeeded");
  await settled(world, vm);
  assert.equal(world.vmOn(vm), target);
  assert.equal(world.cache.get("vm", vm)?.placement?.epoch, 2);
  assert.equal(world.cache.get("volume", volume)?.placement?.host, target);
  assert.equal(world.cache.get("volume", volume)?.placement?.epoch, 2);
  const { result, message, steps } = world.cache.get("task", task)?.status.controller ?? {};
  assert.deepEqual([...new Set(steps?.map(({ state }) => state))], ["done"]);
  const copying = world.progress.find((fields) => fields["phase"] === "performed" && "steps" in fields)?.["steps"] as typeof steps; // as the drive told
  assert.equal(copying?.find(({ state }) => state === "running")?.name, "memory and disks copied");
  assert.equal(result?.["downtimeMs"], 12);
  assert.equal(result?.["bytes"], 1024);
  assert.match(message ?? "", /moved from h1 to h2/);
  const methods = world.agents.calls.map((call) => call.method);
  assert.deepEqual(methods, ["migrate.begin", "migrate.prepare", "migrate.perform", "migrate.finish", "migrate.confirm"]);
  assert.ok(world.progress.some((fields) => fields["remainingBytes"] === 0));
  await world.close();
});

test("while it moves it is counted on both hosts, afterwards on one", async () => {
  const { world, source, target, vm } = await runningMachine();
  const task = await world.addTask("migrate", "vm", vm);
  await world.until(() => world.cache.get("vm", vm)?.status.migration?.phase === "performed", "it is being copied");
  assert.deepEqual(
    [source, target].map((host) => world.snapshot.usage(host)?.machines),
    [1, 1],
  );
  await world.taskEnds(task);
  assert.deepEqual(
    [source, target].map((host) => world.snapshot.usage(host)?.machines),
    [0, 1],
  );
  await world.close();
});

test("the epoch is the target's before the target starts the guest, and the source's copy goes after", async () => {
  const { world, target, vm } = await runningMachine();
  const seen: string[] = [];
  world.agents.moment = ({ method }, when) => {
    if (when === "before") seen.push(`${method} ${world.vmOn(vm) === target ? "moved" : "not moved"}`);
  };
  await world.taskEnds(await world.addTask("migrate", "vm", vm));
  assert.deepEqual(seen, [
    "migrate.begin not moved",
    "migrate.prepare not moved",
    "migrate.perform not moved",
    "migrate.finish moved",
    "migrate.confirm moved",
  ]);
  await world.close();
});

for (const [name, prepare, reason] of [
  [
    "to the host it is on",
    async (world: World, vm: string) => world.addTask("migrate", "vm", vm, { parameters: { host: world.vmOn(vm) } }),
    /is on h1 already/,
  ],
  [
    "to a host without room",
    async (world: World, vm: string) =>
      world.addTask("migrate", "vm", vm, { parameters: { host: await world.addHost("small", { memoryBytes: gib / 2 }) } }),
    /small: lacks memory/,
  ],
  [
    "to a host that is not there",
    async (world: World, vm: string) => world.addTask("migrate", "vm", vm, { parameters: { host: world.id() } }),
    /there is no such host/,
  ],
  [
    "when its target is cut off",
    async (world: World, vm: string) => {
      const other = await world.addHost("h3");
      world.agents.cut(other);
      return world.addTask("migrate", "vm", vm, { parameters: { host: other } });
    },
    /h3: its agent is not connected/,
  ],
  [
    "while it is paused",
    async (world: World, vm: string) => {
      await world.change("vm", vm, (head) => (head.spec["power"] = "paused"));
      await world.until(() => world.cache.get("vm", vm)?.status.agent?.state === "paused", "it is paused");
      return world.addTask("migrate", "vm", vm);
    },
    /it is paused: resume it first/,
  ],
  [
    "stopped, with a disk on its host alone",
    async (world: World, vm: string) => {
      await world.change("vm", vm, (head) => (head.spec["power"] = "stopped"));
      await world.until(() => world.cache.get("vm", vm)?.status.agent?.state === "stopped", "it is stopped");
      return world.addTask("migrate", "vm", vm);
    },
    /its disk web-root lies on its host alone/,
  ],
] as const) {
  test(`a move is refused with its reason ${name}`, async () => {
    const { world, source, vm } = await runningMachine({ disk: "local" });
    const task = await prepare(world, vm);
    assert.equal(await world.taskEnds(task), "failed");
    assert.match(world.cache.get("task", task)?.status.controller?.problem?.detail ?? "", reason);
    assert.equal(world.vmOn(vm), source);
    assert.ok(!world.agents.calls.some((call) => call.method.startsWith("migrate.")));
    await world.close();
  });
}

test("moves asked for at the same moment all end, one after the other, be they refused", async () => {
  const { world, vm } = await runningMachine();
  await world.change("vm", vm, (head) => (head.spec["power"] = "paused"));
  await world.until(() => world.cache.get("vm", vm)?.status.agent?.state === "paused", "it is paused");
  const tasks = await Promise.all([1, 2, 3].map(() => world.addTask("migrate", "vm", vm)));
  for (const task of tasks) assert.equal(await world.taskEnds(task), "failed");
  await world.close();
});

test("a stopped machine that is given over holds its place while its source is asked", async () => {
  const world = await World.make();
  const a = await world.addHost("a");
  const b = await world.addHost("b", { memoryBytes: 4 * gib });
  const { vm } = await world.addVm("first", { disk: "shared", spec: { memory: { bytes: 3 * gib }, placement: { host: a } } });
  await world.until(() => world.cache.get("vm", vm)?.status.agent?.state === "running", "it runs");
  await world.change("vm", vm, (head) => Object.assign(head.spec, { power: "stopped", placement: { hostSelector: {} } }));
  await world.until(() => world.cache.get("vm", vm)?.status.agent?.state === "stopped", "it is stopped");
  world.store.setFaults({ maxDelayMs: 400 });
  const move = await world.addTask("migrate", "vm", vm, { parameters: { host: b } });
  const others = [];
  for (let number = 0; number < 6; number += 1)
    others.push((await world.addVm(`other-${number}`, { spec: { memory: { bytes: 3 * gib }, placement: { host: b } } })).vm);
  await world.taskEnds(move);
  await world.clock.advance(30_000);
  const onB = [vm, ...others].filter((id) => world.vmOn(id) === b);
  assert.equal(onB.length, 1, "one has room there");
  world.store.setFaults({});
  await world.close();
});

test("a stopped machine whose disks are shared is given over, and starts at its new host", async () => {
  const { world, target, vm, volume } = await runningMachine({ disk: "shared" });
  await world.change("vm", vm, (head) => (head.spec["power"] = "stopped"));
  await world.until(() => world.cache.get("vm", vm)?.status.agent?.state === "stopped", "it is stopped");
  assert.equal(await world.taskEnds(await world.addTask("migrate", "vm", vm)), "succeeded");
  assert.equal(world.vmOn(vm), target);
  assert.equal(world.cache.get("volume", volume)?.placement?.host, target);
  await world.change("vm", vm, (head) => (head.spec["power"] = "running"));
  await world.until(() => world.agents.runningOn(vm).length === 1, "it runs");
  assert.deepEqual(world.agents.runningOn(vm), [target]);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("cancelled while it is copied, it runs on at the source", async () => {
  const { world, source, vm } = await runningMachine();
  world.agents.copyMs = 60_000;
  const task = await world.addTask("migrate", "vm", vm);
  await world.until(() => world.cache.get("vm", vm)?.status.migration?.phase === "performed", "it is being copied");
  await world.change("task", task, (head) => (head.spec["cancelRequestedAt"] = world.clock.now()));
  assert.equal(await world.taskEnds(task), "cancelled");
  assert.equal(world.vmOn(vm), source);
  assert.equal(world.cache.get("vm", vm)?.placement?.epoch, 1);
  await settled(world, vm);
  await world.close();
});

test("past its deadline it is given up, running on at the source", async () => {
  const { world, source, vm } = await runningMachine();
  world.agents.copyMs = 60_000;
  const task = await world.addTask("migrate", "vm", vm, { parameters: { deadlineMs: 5000 } });
  const before = world.clock.monotonic();
  assert.equal(await world.taskEnds(task), "failed");
  assert.ok(world.clock.monotonic() - before < 10_000);
  assert.match(world.cache.get("task", task)?.status.controller?.problem?.detail ?? "", /within its deadline of 5000 ms/);
  assert.equal(world.vmOn(vm), source);
  await settled(world, vm);
  await world.close();
});

test("no host has more migrations under way than it may", async () => {
  const world = await World.make();
  const source = await world.addHost("h1");
  const made: string[] = [];
  for (let count = 0; count < 6; count += 1) made.push((await world.addVm(`vm-${count}`, { disk: "shared" })).vm);
  await world.until(() => made.every((vm) => world.agents.runningOn(vm).length === 1), "all run");
  await world.addHost("h2");
  await world.addHost("h3");
  world.agents.copyMs = 2000;
  const tasks: string[] = [];
  for (const vm of made) tasks.push(await world.addTask("migrate", "vm", vm));
  let most = 0;
  await world.until(() => {
    const moving = made.filter((vm) => world.cache.get("vm", vm)?.status.migration !== undefined).length;
    most = Math.max(most, moving);
    return tasks.every((task) => world.taskState(task) === "succeeded");
  }, "all have moved");
  assert.equal(most, 2);
  assert.ok(made.every((vm) => world.vmOn(vm) !== source));
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

// Every state that makes a call × every way the call can fail, on the way there and on the way back.
const callFaults: readonly CallFault[] = ["fail", "lost", "undone", "done", "hang"];
/** A fault that brings the migration to the state which is then met with the case's own fault. */
const wayTo: Readonly<Partial<Record<MigrationState, { readonly method: string; readonly fault: CallFault }>>> = {
  aborting: { method: "migrate.perform", fault: "fail" },
  withdrawing: { method: "migrate.prepare", fault: "fail" },
  restoring: { method: "migrate.begin", fault: "fail" },
  settling: { method: "migrate.finish", fault: "fail" },
};
const calling = migrationStates.filter((state) => migrationTable[state].act.does === "call");

function meets(state: MigrationState, { method, cancelled }: CallRecord): boolean {
  const { act } = migrationTable[state];
  return act.does === "call" && act.method === method && act.cancelled === cancelled;
}

test("every state that calls is among the cases below", () => {
  // `migrate.abort` is only ever a step back; its record says `cancelled: false` because the call has no such field.
  assert.deepEqual(calling.toSorted(), [
    "aborting",
    "begun",
    "finished",
    "performed",
    "prepared",
    "restoring",
    "settling",
    "switched",
    "withdrawing",
  ]);
});

for (const state of calling)
  for (const fault of callFaults)
    test(`${state} × ${fault}: one copy runs in the end, known to the store`, async () => {
      const { world, vm } = await runningMachine({ disk: "local" });
      const way = wayTo[state];
      let met = 0;
      let onTheWay = 0;
      world.agents.fault = (call) => {
        if (way && call.method === way.method && !call.cancelled && (onTheWay += 1) === 1) return way.fault;
        if (!meets(state, { ...call, cancelled: state === "aborting" ? true : call.cancelled })) return undefined;
        met += 1;
        return met === 1 ? fault : undefined;
      };
      const task = await world.addTask("migrate", "vm", vm, { parameters: { deadlineMs: 100_000 } });
      const end = await world.taskEnds(task, 1_000_000);
      assert.ok(met > 0, "the fault was met");
      const moved = world.cache.get("vm", vm)?.placement?.epoch === 2;
      assert.equal(end, moved ? "succeeded" : "failed");
      await settled(world, vm);
      await world.close();
    });

// Kill points: before and after each call's work × the four victims of the acceptance.
const victims = ["server", "source host", "target host", "source agent", "target agent"] as const;
for (const state of calling)
  for (const when of ["before", "after"] as const)
    for (const victim of victims)
      test(`${victim} lost ${when} the work of ${state}: one copy runs in the end, known to the store`, async () => {
        const { world, source, target, vm } = await runningMachine({ disk: "local" });
        const way = wayTo[state];
        let met = 0;
        let onTheWay = 0;
        world.agents.fault = (call) => (way && call.method === way.method && !call.cancelled && (onTheWay += 1) === 1 ? way.fault : undefined);
        world.agents.moment = (call, moment) => {
          if (moment !== when || met > 0 || !meets(state, { ...call, cancelled: state === "aborting" ? true : call.cancelled })) return;
          met += 1;
          if (victim === "server") world.killServer();
          else if (victim === "source host") world.agents.powerOff(source);
          else if (victim === "target host") world.agents.powerOff(target);
          else world.agents.cut(victim === "source agent" ? source : target);
        };
        const task = await world.addTask("migrate", "vm", vm, { parameters: { deadlineMs: 100_000 } });
        await world.until(() => met > 0, "the victim is hit");
        await world.clock.advance(when === "before" ? 3000 : 40_000);
        if (victim === "server") await world.startServer();
        else if (victim === "source host") world.agents.powerOn(source);
        else if (victim === "target host") world.agents.powerOn(target);
        else world.agents.heal(victim === "source agent" ? source : target);
        await world.taskEnds(task, 1_000_000);
        await settled(world, vm);
        await world.close();
      });

test("a guest that is lost when it has been taken over: it is the target's, and the task does not call that a success", async () => {
  const { world, target, vm } = await runningMachine({ disk: "local" });
  let hit = 0;
  world.agents.moment = (call, moment) => {
    if (call.method === "migrate.finish" && moment === "after" && (hit += 1) === 1) world.agents.powerOff(target);
  };
  const task = await world.addTask("migrate", "vm", vm);
  await world.until(() => hit > 0, "the guest is lost");
  world.agents.powerOn(target);
  assert.equal(await world.taskEnds(task, 1_000_000), "failed");
  const { message, problem } = world.cache.get("task", task)?.status.controller ?? {};
  assert.match(message ?? "", /^moved from h1 to h2, but .*lost/);
  assert.equal(problem?.code, "hypervisor-failed");
  await settled(world, vm);
  assert.equal(world.vmOn(vm), target, "and it runs there");
  await world.close();
});

test("two servers in turn, each killed again and again: the machine moves at most once a task, and never runs twice", async () => {
  const { world, vm } = await runningMachine();
  for (let round = 0; round < 12; round += 1) {
    const before = world.cache.get("vm", vm)?.placement?.epoch ?? 0;
    const task = await world.addTask("migrate", "vm", vm);
    for (let kill = 0; kill < 3; kill += 1) {
      await world.clock.advance((round * 37 + kill * 61) % 230);
      world.killServer();
      await world.startServer();
    }
    await world.taskEnds(task);
    await settled(world, vm);
    const epoch = world.cache.get("vm", vm)?.placement?.epoch ?? 0;
    // It may go there, stay, or go there and back: never more than twice up.
    assert.ok(epoch >= before && epoch <= before + 2);
    assert.equal(world.taskState(task) === "succeeded", epoch === before + 1);
  }
  await world.close();
});

test("a store that answers late amid a migration leaves one copy", async () => {
  for (let position = 0; position < 10; position += 1)
    for (const fault of ["uncertain-committed", "uncertain-lost"] as const) {
      const { world, vm } = await runningMachine();
      const task = await world.addTask("migrate", "vm", vm);
      await world.clock.advance(position * 25);
      world.store.failNextTransaction(fault);
      assert.equal(await world.taskEnds(task), "succeeded");
      await settled(world, vm);
      await world.close();
    }
});
