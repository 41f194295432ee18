import assert from "node:assert/strict";
import { test } from "node:test";
import { place } from "./place.ts";
import { SnapshotIndex, buildSnapshot } from "./snapshot.ts";
import { gib, host, id, pool, vm, volume } from "./testing/records.ts";

const used = (snapshot: SnapshotIndex, n: number): number => (snapshot.usage(id(n))?.memoryUsedBytes ?? Number.NaN) / gib;
const upsert = (snapshot: SnapshotIndex, record: Parameters<typeof buildSnapshot>[0] extends Iterable<infer R> ? R : never): void =>
  snapshot.update({ type: "upsert", record });

test("machines known before their host are charged to it", () => {
  const snapshot = buildSnapshot([vm(10, { on: 1 })]);
  assert.equal(snapshot.usage(id(1)), undefined);
  upsert(snapshot, host(1));
  assert.equal(used(snapshot, 1), 1);
  snapshot.update({ type: "remove", kind: "host", id: id(1) });
  assert.equal(snapshot.usage(id(1)), undefined);
  upsert(snapshot, host(1));
  assert.equal(used(snapshot, 1), 1);
});

test("changes and removals of machines are counted, repeated ones once", () => {
  const snapshot = buildSnapshot([host(1), host(2), vm(10, { on: 1 }), vm(10, { on: 1 })]);
  assert.equal(used(snapshot, 1), 1);
  upsert(snapshot, vm(10, { on: 1, spec: { memory: { bytes: 3 * gib } } }));
  assert.equal(used(snapshot, 1), 3);
  upsert(snapshot, vm(10, { on: 2, epoch: 2 }));
  assert.deepEqual([used(snapshot, 1), used(snapshot, 2)], [0, 1]);
  snapshot.update({ type: "remove", kind: "vm", id: id(10) });
  assert.equal(used(snapshot, 2), 0);
  assert.equal(snapshot.usage(id(2))?.machines, 0);
});

test("a migrating machine is charged to source and target", () => {
  const snapshot = buildSnapshot([host(1), host(2), vm(10, { on: 1, migration: { source: 1, target: 2 } })]);
  assert.deepEqual([used(snapshot, 1), used(snapshot, 2)], [1, 1]);
  upsert(snapshot, vm(10, { on: 2, epoch: 2, migration: { source: 1, target: 2 } }));
  assert.deepEqual([used(snapshot, 1), used(snapshot, 2)], [1, 1]);
  upsert(snapshot, vm(10, { on: 2, epoch: 2 }));
  assert.deepEqual([used(snapshot, 1), used(snapshot, 2)], [0, 1]);
});

test("a reservation outlives older news of its machine and ends with its placement", () => {
  const snapshot = buildSnapshot([host(1), vm(10)]);
  snapshot.reserve(snapshot.request(vm(10)), id(1));
  upsert(snapshot, { ...vm(10), labels: { later: "yes" } });
  assert.equal(used(snapshot, 1), 1);
  assert.equal(snapshot.reservedHost(id(10)), id(1));
  upsert(snapshot, vm(10, { on: 1 }));
  assert.equal(snapshot.reservedHost(id(10)), undefined);
  assert.equal(used(snapshot, 1), 1);
});

test("a reservation for a move stays until the move has begun", () => {
  const placed = vm(10, { on: 1 });
  const snapshot = buildSnapshot([host(1), host(2), placed]);
  snapshot.reserve(snapshot.request(placed, "move"), id(2));
  upsert(snapshot, { ...placed, labels: { later: "yes" } });
  assert.deepEqual([used(snapshot, 1), used(snapshot, 2)], [1, 1]);
  upsert(snapshot, vm(10, { on: 1, migration: { source: 1, target: 2 } }));
  assert.equal(snapshot.reservedHost(id(10)), undefined);
  upsert(snapshot, placed);
  assert.deepEqual([used(snapshot, 1), used(snapshot, 2)], [1, 0]);
});

test("release takes back a reservation, also of a machine whose record was never seen", () => {
  const snapshot = buildSnapshot([host(1)]);
  const request = snapshot.request(vm(10));
  snapshot.reserve(request, id(1));
  assert.equal(used(snapshot, 1), 1);
  snapshot.release(request);
  snapshot.release(request);
  assert.equal(used(snapshot, 1), 0);
});

test("release takes back one's own reservation alone, not one that another decision has made for the machine since", () => {
  const snapshot = buildSnapshot([host(1), host(2), vm(10, { on: 1 })]);
  const [drain, migration] = [snapshot.request(vm(10, { on: 1 }), "move"), snapshot.request(vm(10, { on: 1 }), "move")];
  snapshot.reserve(drain, id(2));
  snapshot.reserve(migration, id(2));
  snapshot.release(drain);
  assert.equal(used(snapshot, 2), 1);
  snapshot.release(migration);
  assert.equal(used(snapshot, 2), 0);
});

test("a reserved machine's volumes take their room in the pool, once", () => {
  const sized = (n: number) => volume(n, { pool: 80, sizeBytes: 60 * gib });
  const machine = (n: number, disk: number, on?: number) =>
    vm(n, { spec: { disks: [{ name: "root", volume: id(disk) }] }, ...(on === undefined ? {} : { on }) });
  const snapshot = buildSnapshot([host(1), pool(80, "local", {}, { 1: {} }), sized(90), sized(91), machine(10, 90), machine(11, 91)]);
  const decide = () => place(snapshot.request(machine(11, 91)), snapshot);
  snapshot.reserve(snapshot.request(machine(10, 90)), id(1));
  const refused = decide();
  assert.equal(refused.none && refused.reason, "no host fits: 1 lacks space in pool local (largest free 40 GiB)");
  upsert(snapshot, machine(10, 90, 1));
  upsert(snapshot, volume(90, { pool: 80, sizeBytes: 60 * gib, on: 1 }));
  assert.equal(snapshot.pools.free(id(80), snapshot.table.slotOf(id(1))), 40 * gib);
  snapshot.update({ type: "remove", kind: "vm", id: id(10) });
  assert.equal(snapshot.pools.free(id(80), snapshot.table.slotOf(id(1))), 40 * gib, "the volume stays when its machine goes");
  snapshot.update({ type: "remove", kind: "volume", id: id(90) });
  assert.equal(decide().none, undefined);
});

test("hundreds of hosts", () => {
  const snapshot = new SnapshotIndex();
  for (let n = 1; n <= 300; n += 1) upsert(snapshot, host(n));
  snapshot.measure(id(300), { powerPercent: 5 });
  for (let n = 1; n <= 300; n += 1) upsert(snapshot, vm(1000 + n, { on: n }));
  for (let n = 1; n <= 300; n += 1) assert.equal(used(snapshot, n), 1);
});
