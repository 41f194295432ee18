/** From a stored machine to a running one, and away again: placement, receipts, deletion and liveness together, with simulated agents. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { partKey } from "@sheaf/model";
import { defaultControllerSettings } from "./settings.ts";
import { gib, World } from "./world.test-support.ts";

type Made = Awaited<ReturnType<World["addVm"]>>;

test("a machine is placed with its disk, runs, and its task ends", async () => {
  const world = await World.make();
  const host = await world.addHost("h1");
  const { vm, task, volume } = await world.addVm("web", { disk: "local" });
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.deepEqual(world.agents.runningOn(vm), [host]);
  const placement = world.cache.get("vm", vm)?.placement;
  assert.equal(placement?.epoch, 1);
  assert.equal(placement?.incarnation, world.store.incarnation);
  assert.equal(world.cache.get("volume", volume ?? "")?.placement?.host, host);
  await world.close();
});

test("200 creations spread evenly over three hosts, each placed once, none over capacity", async () => {
  const world = await World.make();
  const hosts = [
    await world.addHost("h1", { memoryBytes: 100 * gib, cpus: 64 }),
    await world.addHost("h2", { memoryBytes: 100 * gib, cpus: 64 }),
    await world.addHost("h3", { memoryBytes: 100 * gib, cpus: 64 }),
  ];
  const made: Made[] = [];
  for (let count = 0; count < 200; count += 1) made.push(await world.addVm(`vm-${count}`, { disk: count % 2 ? "local" : "shared" }));
  await world.until(() => made.every(({ task }) => world.taskState(task) === "succeeded"), "all run");
  for (const host of hosts) {
    const count = made.filter(({ vm }) => world.vmOn(vm) === host).length;
    assert.ok(count >= 66 && count <= 67, `${count} machines on one host`);
    const usage = world.snapshot.usage(host);
    assert.ok(usage && usage.memoryUsedBytes <= usage.memoryCapacityBytes);
    assert.equal(usage.machines, count, "reservations are gone once the records say it");
  }
  for (const { vm } of made) assert.equal(world.cache.get("vm", vm)?.placement?.epoch, 1);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("what fits nowhere is told why, and is placed when capacity comes", async () => {
  const world = await World.make();
  const small = await world.addHost("h1", { memoryBytes: 2 * gib });
  const { vm, task } = await world.addVm("big", { spec: { memory: { bytes: 8 * gib } } });
  await world.until(() => world.cache.get("vm", vm)?.status.placement?.pending !== undefined, "it is pending");
  assert.match(world.cache.get("vm", vm)?.status.placement?.pending?.reason ?? "", /no host fits: 1 lacks memory \(/);
  await world.until(() => world.taskState(task) === "running", "the task tells");
  await world.change("host", small, (head) => (head.spec["schedulable"] = "cordoned"));
  await world.until(() => /1 is cordoned/.test(world.cache.get("vm", vm)?.status.placement?.pending?.reason ?? ""), "the reason follows");
  const big = await world.addHost("h2", { memoryBytes: 16 * gib });
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.equal(world.vmOn(vm), big);
  assert.equal(world.cache.get("vm", vm)?.status.placement, undefined);
  await world.close();
});

test("on a restored site what had no host gets one only when every host was heard", async () => {
  const world = await World.make();
  world.heldBack = true;
  const host = await world.addHost("h1");
  const { vm, task, volume } = await world.addVm("web", { disk: "local" });
  const from = world.clock.monotonic();
  await world.until(() => world.clock.monotonic() >= from + 10_000, "ten seconds pass");
  assert.deepEqual([world.vmOn(vm), world.cache.get("volume", volume ?? "")?.placement], [undefined, undefined]);
  world.heldBack = false;
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.equal(world.vmOn(vm), host);
  await world.close();
});

test("machines never fill a host beyond what it has; the rest wait and follow as others go, the important first", async () => {
  const world = await World.make();
  await world.addHost("h1", { memoryBytes: 4 * gib });
  const first: Made[] = [];
  for (let count = 0; count < 4; count += 1) first.push(await world.addVm(`a-${count}`));
  await world.until(() => first.every(({ task }) => world.taskState(task) === "succeeded"), "four fit");
  const low = await world.addVm("low", { spec: { priority: 1 } });
  const high = await world.addVm("high", { spec: { priority: 900 } });
  await world.until(() => [low, high].every(({ vm }) => world.cache.get("vm", vm)?.status.placement?.pending !== undefined), "two wait");
  await world.change("vm", first[0]?.vm ?? "", (head) => (head.deletedAt = world.clock.now()));
  assert.equal(await world.taskEnds(high.task), "succeeded");
  assert.equal(world.vmOn(low.vm), undefined);
  await world.close();
});

test("a deleted machine leaves no key behind", async () => {
  const world = await World.make();
  await world.addHost("h1");
  const before = await world.everything();
  const { vm, task, volume } = await world.addVm("web", {
    disk: "local",
    spec: { nics: [{ name: "net0", network: "net", mac: "52:54:00:00:00:64", addresses: ["10.0.0.9"] }] },
  });
  // The network is not there: it waits, unplaced.
  await world.until(() => world.cache.get("vm", vm)?.status.placement?.pending !== undefined, "it waits for its network");
  await world.change("vm", vm, (head) => (head.spec["nics"] = []));
  assert.equal(await world.taskEnds(task), "succeeded");
  await world.write([{ delete: "u/mac/52:54:00:00:00:64" }]);
  await world.change("vm", vm, (head) => (head.deletedAt = world.clock.now()));
  const removal = await world.addTask("delete", "vm", vm);
  assert.equal(await world.taskEnds(removal), "succeeded");
  assert.equal(world.cache.get("volume", volume ?? ""), undefined);
  assert.deepEqual(world.agents.anythingOn(vm), []);
  await world.write([task, removal].flatMap((id) => ["spec", "status/controller"].map((part) => ({ delete: partKey("task", id, part) }))));
  const after = await world.everything();
  assert.deepEqual(
    [...after.keys()].filter((key) => !before.has(key)),
    [],
  );
  await world.close();
});

test("a machine that was never placed goes at once, its disk too", async () => {
  const world = await World.make();
  const before = await world.everything();
  const { vm, task } = await world.addVm("web", { disk: "local" });
  await world.change("vm", vm, (head) => (head.deletedAt = world.clock.now()));
  await world.until(() => world.cache.get("vm", vm) === undefined, "it is gone");
  assert.equal(await world.taskEnds(task), "cancelled");
  const left = [...(await world.everything()).keys()].filter((key) => !before.has(key) && !key.startsWith("r/task/"));
  assert.deepEqual(left, []);
  await world.close();
});

test("deletion waits for a host that cannot be reached, and a disk that is kept stays", async () => {
  const world = await World.make();
  const host = await world.addHost("h1");
  const { vm, task, volume = "" } = await world.addVm("web", { disk: "local" });
  await world.taskEnds(task);
  await world.change("vm", vm, (head) => {
    for (const disk of head.spec["disks"] as { deleteWithVm: boolean }[]) disk.deleteWithVm = false;
  });
  world.agents.cut(host);
  await world.change("vm", vm, (head) => (head.deletedAt = world.clock.now()));
  await world.clock.advance(60_000);
  assert.notEqual(world.cache.get("vm", vm), undefined);
  assert.deepEqual(world.agents.runningOn(vm), [host]);
  world.agents.heal(host);
  await world.until(() => world.cache.get("vm", vm) === undefined, "it is gone");
  assert.notEqual(world.cache.get("volume", volume), undefined);
  await world.close();
});

test("what a removed record counted against its project's quota is given back", async () => {
  const world = await World.make();
  const { vm } = await world.addVm("web", { disk: "local" });
  const key = `q/${world.ids.project}`;
  await world.write([{ put: key, value: JSON.stringify({ vms: 3, vcpus: 5, memoryBytes: 10 * gib, diskBytes: 4 * gib, images: 1 }) }]);
  await world.change("vm", vm, (head) => (head.deletedAt = world.clock.now()));
  await world.until(() => world.cache.get("vm", vm) === undefined, "it is gone");
  assert.deepEqual(JSON.parse((await world.store.get(key))?.value ?? ""), { vms: 2, vcpus: 4, memoryBytes: 9 * gib, diskBytes: 3 * gib, images: 1 });
  await world.close();
});

test("a pool, a host and a project go only when nothing refers to them any more", async () => {
  const world = await World.make();
  const host = await world.addHost("h1");
  const { vm, task } = await world.addVm("web", { disk: "local" });
  await world.taskEnds(task);
  for (const [kind, id] of [
    ["pool", world.ids.local],
    ["host", host],
    ["project", world.ids.project],
  ] as const)
    await world.change(kind, id, (head) => (head.deletedAt = world.clock.now()));
  await world.clock.advance(10_000);
  assert.notEqual(world.cache.get("pool", world.ids.local), undefined);
  assert.notEqual(world.cache.get("host", host), undefined);
  await world.change("vm", vm, (head) => (head.deletedAt = world.clock.now()));
  await world.until(
    () =>
      world.cache.get("host", host) === undefined &&
      world.cache.get("pool", world.ids.local) === undefined &&
      world.cache.get("project", world.ids.project) === undefined,
    "all are gone",
  );
  const left = [...(await world.everything()).keys()].filter((key) => key.includes(host));
  assert.deepEqual(left, []);
  await world.close();
});

test("a host that is silent is unreachable after the grace, and ready when it is back; its guests run on", async () => {
  const world = await World.make();
  const host = await world.addHost("h1");
  const { vm, task } = await world.addVm("web", { disk: "local" });
  await world.taskEnds(task);
  const liveness = () => world.cache.get("host", host)?.status.liveness;
  world.agents.cut(host);
  await world.clock.advance(defaultControllerSettings.unreachableAfterMs.default - 1000);
  assert.equal(liveness()?.state, "ready");
  await world.until(() => liveness()?.state === "unreachable", "it is unreachable");
  const stop = await world.addTask("stop", "vm", vm, { generation: 2 });
  await world.change("vm", vm, (head) => (head.spec["power"] = "stopped"));
  await world.clock.advance(180_000);
  assert.deepEqual(world.agents.runningOn(vm), [host]);
  assert.equal(world.taskState(stop), "running");
  world.agents.heal(host);
  await world.until(() => liveness()?.state === "ready", "it is ready");
  assert.equal(await world.taskEnds(stop), "succeeded");
  await world.close();
});

test("a server that starts anew calls no host unreachable before it has listened for the grace", async () => {
  const world = await World.make();
  const host = await world.addHost("h1");
  world.killServer();
  world.agents.cut(host);
  await world.clock.advance(60_000);
  await world.startServer();
  const since = world.clock.monotonic();
  await world.until(() => world.cache.get("host", host)?.status.liveness?.state === "unreachable", "it is unreachable");
  assert.ok(world.clock.monotonic() - since >= defaultControllerSettings.unreachableAfterMs.default - 1000);
  await world.close();
});

test("a start that fails ends its task with the agent's words", async () => {
  const world = await World.make();
  await world.addHost("h1");
  world.agents.working = false;
  const { vm, task } = await world.addVm("web");
  world.agents.broken.set(vm, "KVM is gone");
  world.agents.working = true;
  world.agents.lookAtAll([...world.agents.hosts.keys()][0] ?? "");
  assert.equal(await world.taskEnds(task), "failed");
  assert.equal(world.cache.get("task", task)?.status.controller?.problem?.detail, "KVM is gone");
  await world.close();
});

for (const isProtected of [false, true])
  test(`a machine whose guest shuts itself down ${isProtected ? "stays when it is protected" : "goes when its policy says so"}`, async () => {
    const world = await World.make();
    await world.addHost("h1");
    const { vm, task } = await world.addVm("web", { spec: { protected: isProtected, restart: { onGuestShutdown: "delete" } } });
    await world.taskEnds(task);
    const seen = world.cache.get("vm", vm)?.status.agent;
    world.agents.working = !isProtected;
    await world.write([{ put: partKey("vm", vm, "status/agent"), value: JSON.stringify({ ...seen, state: "stopped", stoppedBy: "guest" }) }]);
    if (isProtected) await world.clock.advance(60_000);
    else await world.until(() => world.cache.get("vm", vm) === undefined, "it is gone");
    assert.equal(world.cache.get("vm", vm)?.deletedAt, undefined);
    assert.equal(world.cache.get("vm", vm) !== undefined, isProtected);
    await world.close();
  });

test("a volume of no machine gets a host; one attached to a machine elsewhere follows it, its epoch growing", async () => {
  const world = await World.make();
  const h1 = await world.addHost("h1");
  const volume = world.id();
  await world.put("volume", volume, "data", { pool: world.ids.shared, sizeBytes: gib, format: "qcow2", protected: false });
  const task = await world.addTask("create", "volume", volume, { generation: 1 });
  assert.equal(await world.taskEnds(task), "succeeded");
  assert.equal(world.cache.get("volume", volume)?.placement?.host, h1);
  const h2 = await world.addHost("h2");
  const { vm, task: made } = await world.addVm("web", { spec: { placement: { host: h2 } } });
  await world.taskEnds(made);
  await world.change(
    "vm",
    vm,
    (head) =>
      (head.spec["disks"] = [
        { name: "data", volume, bus: "virtio", cache: "none", io: "threads", discard: true, readOnly: false, clone: "linked", deleteWithVm: true },
      ]),
  );
  await world.until(() => world.cache.get("volume", volume)?.placement?.host === h2, "it follows");
  assert.equal(world.cache.get("volume", volume)?.placement?.epoch, 2);
  await world.close();
});

test("the cluster's baseline follows its hosts", async () => {
  const world = await World.make();
  await world.addHost("h1");
  await world.until(() => world.cache.get("cluster", world.ids.cluster)?.status.baseline?.model === "qemu64", "a baseline is chosen");
  await world.close();
});

test("ended tasks are kept for a while, and not too many", async () => {
  const world = await World.make({ taskKeepMs: 3_600_000, taskKeepCount: 3 });
  const tasks: string[] = [];
  for (let count = 0; count < 5; count += 1) tasks.push(await world.addTask("create", "project", world.ids.project, { generation: 1 }));
  const open = await world.addTask("backup", "project", world.ids.project);
  await world.until(() => tasks.every((id) => ["succeeded", "absent"].includes(world.taskState(id))), "all end");
  await world.until(() => world.cache.count("task") === 4, "too many are swept", 700_000);
  await world.until(() => world.cache.count("task") === 1, "old ones are swept", 6_000_000);
  assert.equal(world.taskState(open), "waiting");
  await world.close();
});

test("a server killed amid 200 creations: each is placed once, and all run", async () => {
  const world = await World.make();
  for (const name of ["h1", "h2", "h3"]) await world.addHost(name, { memoryBytes: 100 * gib, cpus: 64 });
  const made: Made[] = [];
  for (let count = 0; count < 200; count += 1) {
    made.push(await world.addVm(`vm-${count}`, { disk: "local" }));
    if (count % 60 === 30) {
      await world.clock.advance(3);
      world.killServer();
      await world.startServer();
    }
  }
  await world.until(() => made.every(({ task }) => world.taskState(task) === "succeeded"), "all run");
  for (const { vm } of made) {
    assert.equal(world.cache.get("vm", vm)?.placement?.epoch, 1);
    assert.equal(world.agents.runningOn(vm).length, 1);
  }
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});

test("a store that fails, forgets to answer and drops its watches changes nothing in the end", async () => {
  const world = await World.make();
  for (const name of ["h1", "h2"]) await world.addHost(name, { memoryBytes: 100 * gib, cpus: 64 });
  world.store.setFaults({ uncertainCommitted: 0.05, uncertainLost: 0.05, unavailable: 0.05, watchEnds: 0.02 });
  const made: Made[] = [];
  while (made.length < 40) {
    try {
      made.push(await world.addVm(`vm-${made.length}-${world.clock.monotonic()}-${world.random.bytes(1)[0]}`, { disk: "shared" }));
    } catch {
      await world.clock.advance(10);
    }
  }
  await world.clock.advance(60_000);
  world.store.setFaults({});
  await world.until(() => made.every(({ task }) => world.taskState(task) === "succeeded"), "all run", 300_000);
  for (const { vm } of made) assert.equal(world.cache.get("vm", vm)?.placement?.epoch, 1);
  assert.deepEqual(world.agents.violations, []);
  await world.close();
});
