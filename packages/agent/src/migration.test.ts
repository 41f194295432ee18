/** The migrate.* calls of two agents, driven as the migration controller does, with crashes in between: one copy runs in the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seedPath } from "./host-paths.ts";
import { SimulatedClock } from "@sheaf/base";
import type { MigrationCall } from "@sheaf/contract";
import { sampleId } from "./simulated/sample-documents.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, image, imageContent, network, pool, sharedPool, vm, volume } from "./simulated/sample-site.ts";

const target = sampleId(11);
const task = sampleId(80);

interface Pair {
  readonly a: SimulatedHost;
  readonly b: SimulatedHost;
  readonly call: MigrationCall;
  readonly shared: boolean;
}

async function pair(shared: boolean): Promise<Pair> {
  const clock = new SimulatedClock();
  const a = new SimulatedHost({ id: ids.host, clock });
  const b = new SimulatedHost({ id: target, clock });
  const base = [pool(), sharedPool(), network(), image()];
  for (const host of [a, b]) {
    host.server.images.set(ids.image, imageContent);
    host.server.put(...base);
  }
  a.server.put(volume(shared ? { pool: ids.shared } : {}), vm());
  await a.start();
  await b.start();
  const status = { migration: { task, phase: "begun", source: ids.host, target, since: 1 } };
  a.server.put(vm({}, { status }));
  b.server.put(volume(shared ? { pool: ids.shared } : {}), vm({}, { status }));
  await a.settle();
  if (shared) for (const path of a.files.paths("/mnt/shared")) b.files.put(path, a.files.text(path) ?? "");
  const call = { vmId: ids.vm, taskId: task, epoch: 1, sourceHost: ids.host, targetHost: target, targetAddress: "10.0.0.2", sharedStorage: shared };
  return { a, b, call, shared };
}

/** Lets the virtual time run while `work` waits for it. */
async function through<T>({ a }: Pair, work: Promise<T>): Promise<T> {
  const state = { over: false };
  const done = work.finally(() => (state.over = true));
  done.catch(() => {});
  for (let round = 0; round < 200 && !state.over; round += 1) await a.clock.advance(20);
  return done;
}

const copies = [{ volumeId: ids.volume, sizeBytes: 2 ** 30, format: "qcow2", image: ids.image }];

async function untilPerformed(it: Pair) {
  const { a, b, call, shared } = it;
  const begun = await through(it, a.server.call("migrate.begin", call));
  const prepared = await through(it, b.server.call("migrate.prepare", { ...call, ...begun, copyVolumes: shared ? [] : copies, ports: {} }));
  const perform = {
    ...call,
    cookie: prepared.cookie,
    uri: prepared.uri,
    copyVolumes: shared ? [] : [ids.volume],
    bandwidthBytesPerSecond: 0,
    maximumDowntimeMs: 300,
    autoConverge: true,
  };
  return { begun, prepared, perform, performed: await through(it, a.server.call("migrate.perform", perform)) };
}

/** The placement moves over, as the controller's transaction does. */
async function move(it: Pair): Promise<void> {
  const status = { migration: { task, phase: "switched", source: ids.host, target, since: 1 } };
  for (const host of [it.a, it.b])
    host.server.put(vm({}, { status }, { host: target, epoch: 2 }), volume(it.shared ? { pool: ids.shared } : {}, {}, { host: target, epoch: 2 }));
  await it.a.settle();
}

async function settled(it: Pair, host: string, epoch: number): Promise<void> {
  const [winner, loser] = host === target ? [it.b, it.a] : [it.a, it.b];
  winner.server.put(vm({}, {}, { host, epoch }), volume(it.shared ? { pool: ids.shared } : {}, {}, { host, epoch }));
  loser.server.remove("vm", ids.vm, false, { epoch, incarnation: "i1" });
  loser.server.remove("volume", ids.volume, false, { epoch, incarnation: "i1" });
  await it.a.clock.advance(60_000);
}

test("the guest does not stand still for the new placement's documents", async () => {
  const it = await pair(true);
  const { b, call } = it;
  const { performed } = await untilPerformed(it);
  const finish = { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 };
  assert.equal((await through(it, b.server.call("migrate.finish", finish))).running, true);
  assert.deepEqual([b.hypervisor.live(ids.vm)?.machine?.epoch, b.hypervisor.live(ids.vm)?.machine?.incarnation], [2, "i1"]);
});

test("a target whose copy went with its agent says that it never ran, so that the guest goes on at the source", async () => {
  const it = await pair(true);
  const { b, call } = it;
  const { performed } = await untilPerformed(it);
  await move(it);
  await b.restart();
  assert.equal(await b.hypervisor.domain(ids.vm), null);
  assert.deepEqual(await through(it, b.server.call("vm.probe", { vmId: ids.vm })), { state: "incoming", migrating: false });
  const finish = { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 };
  assert.deepEqual(await through(it, b.server.call("migrate.finish", finish)), { cookie: "", running: false, neverRan: true });
});

test("the copy that was prepared is told as incoming, the guest at the source as held", async () => {
  const it = await pair(true);
  await untilPerformed(it);
  for (const host of [it.a, it.b]) host.server.cut();
  await it.a.clock.advance(5000);
  const told = (host: SimulatedHost) => host.server.hellos.at(-1)?.machines.map(({ epoch, incoming }) => ({ epoch, incoming: incoming ?? false }));
  assert.deepEqual(told(it.a), [{ epoch: 1, incoming: false }]);
  assert.deepEqual(told(it.b), [{ epoch: 1, incoming: true }]);
});

const disk = `/mnt/local/sheaf/volumes/${ids.volume}.qcow2`;

for (const shared of [true, false]) {
  test(`a migration with ${shared ? "shared" : "local"} storage, every call made twice: one copy, at the target, under the new epoch`, async () => {
    const it = await pair(shared);
    const { a, b, call } = it;
    const { begun, prepared, perform, performed } = await untilPerformed(it);
    assert.deepEqual(await through(it, a.server.call("migrate.begin", call)), begun);
    assert.deepEqual(await through(it, b.server.call("migrate.prepare", { ...call, ...begun, copyVolumes: [], ports: {} })), prepared);
    assert.deepEqual(await through(it, a.server.call("migrate.perform", perform)), performed);
    assert.equal(a.hypervisor.calls.filter((each) => each.startsWith("perform")).length, 1);
    assert.deepEqual((await through(it, b.server.call("vm.probe", { vmId: ids.vm }))).state, "incoming");
    await move(it);
    const finish = { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 };
    assert.equal((await through(it, b.server.call("migrate.finish", finish))).running, true);
    assert.equal((await through(it, b.server.call("migrate.finish", finish))).running, true);
    const confirm = { ...call, cookie: "", cancelled: false };
    assert.deepEqual((await through(it, a.server.call("migrate.confirm", confirm))).running, false);
    assert.deepEqual((await through(it, a.server.call("migrate.confirm", confirm))).running, false);
    await settled(it, target, 2);
    assert.deepEqual(await a.hypervisor.domains(), []);
    assert.equal(b.hypervisor.live(ids.vm)?.machine?.epoch, 2);
    assert.equal(a.files.text(seedPath(ids.vm)), null);
    assert.ok(b.files.text(seedPath(ids.vm)));
    if (!shared) assert.deepEqual([a.files.text(disk), b.files.text(disk) === null], [null, false]);
    else assert.ok(a.files.paths("/mnt/shared/sheaf/volumes").length > 0, "what is shared is never removed by the host that it left");
    assert.equal(b.server.part<{ state: string; epoch: number }>("vm", ids.vm)?.epoch, 2);
    await a.stop();
    await b.stop();
  });
}

for (const told of [true, false]) {
  const how = told ? "" : ", by a server that did not get to tell the target";
  test(`cancelled before the epoch moves${how}: the source runs on, nothing is left at the target`, async () => {
    const it = await pair(false);
    const { a, b, call } = it;
    const { performed } = await untilPerformed(it);
    await through(it, a.server.call("migrate.abort", call));
    if (told) {
      const finished = await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: true, newEpoch: 1 }));
      assert.deepEqual([finished.running, finished.neverRan], [false, true]);
    }
    assert.equal((await through(it, a.server.call("migrate.confirm", { ...call, cookie: "", cancelled: true }))).running, true);
    await settled(it, ids.host, 1);
    assert.ok(a.hypervisor.live(ids.vm));
    assert.equal((await a.hypervisor.domain(ids.vm))?.state, "running");
    assert.deepEqual(await b.hypervisor.domains(), []);
    assert.equal(b.files.text(disk), null);
    assert.ok(a.files.text(disk));
    await a.stop();
    await b.stop();
  });
}

test("a disk that comes back before its release was through is kept", async () => {
  const { a, b } = await pair(false);
  a.server.put(vm());
  a.server.remove("volume", ids.volume, false, { epoch: 2, incarnation: "i1" });
  await a.clock.advance(100);
  assert.ok(a.files.text(disk), "it is in use: its release waits");
  a.server.put(volume({}, {}, { host: ids.host, epoch: 3 }));
  a.hypervisor.stop(ids.vm, "shutdown");
  await a.clock.advance(60_000);
  assert.ok(a.files.text(disk));
  assert.equal(a.server.part<{ state: string }>("volume", ids.volume)?.state, "ready");
  await a.stop();
  await b.stop();
});

test("the target's agent is killed after the epoch moved and before the guest ran there: it says so, and the source takes it back", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  const { performed } = await untilPerformed(it);
  await move(it);
  await b.restart();
  const finished = await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 }));
  assert.deepEqual(finished, { cookie: "", running: false, neverRan: true });
  assert.equal((await through(it, a.server.call("migrate.confirm", { ...call, cookie: "", cancelled: true }))).running, true);
  await settled(it, ids.host, 3);
  assert.equal((await a.hypervisor.domain(ids.vm))?.state, "running");
  assert.equal(a.hypervisor.live(ids.vm)?.machine?.epoch, 3);
  assert.deepEqual(await b.hypervisor.domains(), []);
  await a.stop();
  await b.stop();
});

test("the target's agent is killed after the guest ran there: it is found running, and never said not to have run", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  const { performed } = await untilPerformed(it);
  await move(it);
  const finish = { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 };
  await through(it, b.server.call("migrate.finish", finish));
  await b.restart();
  assert.deepEqual(await through(it, b.server.call("vm.probe", { vmId: ids.vm })), { state: "running", migrating: false });
  const again = await through(it, b.server.call("migrate.finish", finish));
  assert.deepEqual([again.running, again.neverRan], [true, undefined]);
  // It crashes there before the controller asked once more: then it ran, whatever is found.
  b.hypervisor.stop(ids.vm, "crashed");
  await b.restart();
  const gone = await through(it, b.server.call("migrate.finish", finish));
  assert.deepEqual([gone.running, gone.neverRan], [false, undefined]);
  await a.stop();
  await b.stop();
});

test("the source's agent is killed after the copying: its paused copy is not touched before the server decides, then goes", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  const { performed } = await untilPerformed(it);
  await a.restart();
  await a.clock.advance(60_000);
  assert.equal((await a.hypervisor.domain(ids.vm))?.state, "paused", "neither resumed nor destroyed while it may run at the target");
  await assert.rejects(
    through(
      it,
      a.server.call("migrate.perform", {
        ...call,
        cookie: "",
        uri: "",
        copyVolumes: [],
        bandwidthBytesPerSecond: 0,
        maximumDowntimeMs: 1,
        autoConverge: false,
      }),
    ),
    /restarted/,
  );
  await move(it);
  await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 }));
  await through(it, a.server.call("migrate.confirm", { ...call, cookie: "", cancelled: false }));
  await settled(it, target, 2);
  assert.deepEqual(await a.hypervisor.domains(), []);
  assert.equal((await b.hypervisor.domain(ids.vm))?.state, "running");
  await a.stop();
  await b.stop();
});

test("a source that could not be told to let go does so when it is told that the machine is elsewhere, its session still open", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  const { performed } = await untilPerformed(it);
  await move(it);
  await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 }));
  await settled(it, target, 2);
  assert.deepEqual(await a.hypervisor.domains(), []);
  assert.equal((await b.hypervisor.domain(ids.vm))?.state, "running");
  await a.stop();
  await b.stop();
});

test("a source that was cut off learns of the newer epoch and lets its copy go by itself", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  const { performed } = await untilPerformed(it);
  await move(it);
  await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 }));
  a.server.reachable = false;
  await a.restart();
  await a.clock.advance(120_000);
  assert.equal((await a.hypervisor.domain(ids.vm))?.state, "paused");
  // On return the server knows of the machine elsewhere only.
  a.server.documents.clear();
  a.server.put(pool(), sharedPool(), network(), image());
  a.server.reachable = true;
  await a.clock.advance(15_000);
  a.server.remove("vm", ids.vm, false, { epoch: 2, incarnation: "i1" });
  await a.clock.advance(15_000);
  assert.deepEqual(await a.hypervisor.domains(), []);
  await a.stop();
  await b.stop();
});

test("a source that merely lost its connection lets its copy go when it learns of the newer epoch", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  const { performed } = await untilPerformed(it);
  await move(it);
  await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 }));
  a.server.cut();
  await a.clock.advance(15_000);
  a.server.remove("vm", ids.vm, false, { epoch: 2, incarnation: "i1" });
  await a.clock.advance(15_000);
  assert.deepEqual(await a.hypervisor.domains(), [], "its agent goes on with a session to libvirt that nobody ends");
  await a.stop();
  await b.stop();
});

test("a copy that an earlier migration left paused is never let go on by a later one that comes to nothing", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  await untilPerformed(it);
  // It was elsewhere meanwhile, and is back here with its disks: what this host holds in memory is the past.
  await a.restart();
  const again = { ...call, taskId: sampleId(81), epoch: 3 };
  const status = { migration: { task: again.taskId, phase: "restoring", source: ids.host, target, since: 1 } };
  a.server.put(vm({}, { status }, { epoch: 3 }), volume({ pool: ids.shared }, {}, { epoch: 3 }));
  await a.settle();
  await through(it, a.server.call("migrate.confirm", { ...again, cookie: "", cancelled: true })).catch(() => {});
  assert.notEqual((await a.hypervisor.domain(ids.vm))?.state, "running", "the old copy was let go on");
  a.server.put(vm({}, {}, { epoch: 3 }));
  await a.clock.advance(15_000);
  assert.ok(a.hypervisor.calls.includes(`destroy ${ids.vm}`));
  assert.equal((await a.hypervisor.domain(ids.vm))?.reason, "booted", "started anew from its disks");
  await a.stop();
  await b.stop();
});

test("begin is refused for another epoch, a stopped machine, and on a host that does not have it", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  await assert.rejects(through(it, a.server.call("migrate.begin", { ...call, epoch: 7 })), /under epoch 1, not 7/);
  await assert.rejects(through(it, b.server.call("migrate.begin", call)), /no such machine/);
  a.hypervisor.stop(ids.vm, "shutdown");
  await assert.rejects(through(it, a.server.call("migrate.begin", call)), /stopped and not running/);
  await a.stop();
  await b.stop();
});

const snapshots = [
  { xml: "<domainsnapshot><name>before</name></domainsnapshot>", current: false },
  { xml: "<domainsnapshot><name>after</name></domainsnapshot>", current: true },
];
const aside = `/mnt/shared/sheaf/volumes/${ids.volume}.qcow2.snapshots`;

test("snapshots inside shared disks come along", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  a.hypervisor.known.set(ids.vm, snapshots);
  const { performed } = await untilPerformed(it);
  // One directory, seen by both.
  b.files.put(aside, a.files.text(aside) ?? "");
  await move(it);
  const { cookie } = await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: false, newEpoch: 2 }));
  assert.deepEqual(b.hypervisor.known.get(ids.vm), snapshots);
  assert.equal(b.files.text(aside), null);
  await through(it, a.server.call("migrate.confirm", { ...call, cookie, cancelled: false }));
  await settled(it, target, 2);
});

test("snapshots are back after a move that was given up, also when the agent was killed before it was begun", async () => {
  const it = await pair(true);
  const { a, b, call } = it;
  a.hypervisor.known.set(ids.vm, snapshots);
  const { performed } = await untilPerformed(it);
  const { cookie } = await through(it, b.server.call("migrate.finish", { ...call, cookie: performed.cookie, cancelled: true, newEpoch: 1 }));
  await through(it, a.server.call("migrate.confirm", { ...call, cookie, cancelled: true }));
  assert.deepEqual(a.hypervisor.known.get(ids.vm), snapshots);

  a.hypervisor.refusals.set("begin", "the daemon says no");
  await assert.rejects(through(it, a.server.call("migrate.begin", { ...call, taskId: sampleId(81) })), /says no/);
  assert.equal(a.hypervisor.known.get(ids.vm), undefined);
  await a.restart();
  await settled(it, ids.host, 1);
  assert.deepEqual(a.hypervisor.known.get(ids.vm), snapshots);
  assert.equal(a.files.text(aside), null);
});

test("a machine with snapshots is not moved by copying its disks, and nothing is taken from it", async () => {
  const it = await pair(false);
  it.a.hypervisor.known.set(ids.vm, snapshots);
  await assert.rejects(through(it, it.a.server.call("migrate.begin", it.call)), /2 snapshots.*copied without them/);
  assert.deepEqual(it.a.hypervisor.known.get(ids.vm), snapshots);
});
