/** What the snapshot keeps between decisions (standing hosts, headroom, columns of pools) never shows: a fresh one decides the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type AnyRecord, type PlacementPolicy, placementPolicyNames } from "@sheaf/model";
import fc from "fast-check";
import { place } from "./place.ts";
import type { PlacementDecision } from "./placement-decision.ts";
import { buildSnapshot, SnapshotIndex } from "./snapshot.ts";
import { cluster, gib, host, id, network, pool, vm, volume } from "./testing/records.ts";

const hosts = 5;
const hostNumber = fc.integer({ min: 1, max: hosts });
const size = fc.record({ count: fc.integer({ min: 1, max: 4 }), memoryGib: fc.integer({ min: 1, max: 4 }) });

const change = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("host" as const),
      n: hostNumber,
      cpus: fc.integer({ min: 2, max: 8 }),
      open: fc.boolean(),
      rack: fc.constantFrom("1", "2"),
      inSecond: fc.boolean(),
      cells: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("vm" as const),
      n: fc.integer({ min: 1, max: 12 }),
      on: fc.option(hostNumber, { nil: undefined }),
      size,
      disk: fc.boolean(),
      apart: fc.boolean(),
      ownCpus: fc.option(fc.constantFrom([0, 1, 2, 3], [2, 3, 0, 1]), { nil: undefined, freq: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("cluster" as const),
      overcommit: fc.constantFrom(1, 2),
      policy: fc.constantFrom<PlacementPolicy>("balanced", "pack", { spread: 1, energy: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("network" as const), on: fc.uniqueArray(hostNumber) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("pool" as const),
      on: fc.constantFrom([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [2, 3, 5]),
      sizeGib: fc.integer({ min: 1, max: 20 }),
      type: fc.constantFrom("local" as const, "shared" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), n: hostNumber }) },
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

const sometimes = fc.constantFrom(false, false, true);
const wish = fc.record({
  size,
  // Few kinds of requests: what is kept of one is asked again.
  rack: fc.option(fc.constantFrom("1", "2"), { nil: undefined, freq: 1 }),
  network: sometimes,
  disk: fc.boolean(),
  apart: fc.boolean(),
  cpuPlacement: fc.constantFrom(undefined, undefined, "cell" as const, "dedicated" as const),
  policy: fc.option(fc.constantFrom<PlacementPolicy>("balanced", "fragmentation", ...placementPolicyNames, { balanced: 1, energy: 1 }), {
    nil: undefined,
  }),
});

const disks = [{ name: "root", volume: id(999) }];
const memory = (gibs: number) => ({ memory: { bytes: gibs * gib } });

/** A report changes the status alone: the spec stays the very same object. */
const poolSpecs = { local: pool(80, "fast", { type: "local" }, {}).spec, shared: pool(80, "fast", { type: "shared" }, {}).spec };
function poolOf(type: "local" | "shared", on: readonly number[], sizeGib: number): AnyRecord {
  return { ...pool(80, "fast", {}, Object.fromEntries(on.map((n) => [n, { capacityBytes: sizeGib * gib }]))), spec: poolSpecs[type] };
}

function recordsOf(given: Change): readonly AnyRecord[] {
  switch (given.kind) {
    case "host": {
      const spec = { schedulable: given.open ? ("open" as const) : ("cordoned" as const), ...(given.inSecond ? { cluster: "second" } : {}) };
      const cpus = Array.from({ length: given.cpus }, (_, cpu) => cpu);
      const half = Math.floor(given.cpus / 2);
      const numa = [cpus.slice(0, half), cpus.slice(half)].map((its, cell) => ({ cell, cpus: its, memoryBytes: 4 * gib, hugepages: [] }));
      return [host(given.n, { cpus: given.cpus, labels: { rack: given.rack }, spec, ...(given.cells ? { numa } : {}) })];
    }
    case "vm": {
      const placement = given.apart ? { apart: "x" } : {};
      const attached = given.disk ? { disks: [{ name: "root", volume: id(300 + given.n) }] } : {};
      const own = given.ownCpus === undefined ? {} : { placement: "dedicated" as const };
      const spec = { cpu: { count: given.size.count, ...own }, ...memory(given.size.memoryGib), placement, ...attached };
      const cpus = (given.ownCpus ?? []).slice(0, given.size.count);
      const numa = { cells: [{ cell: 0, vcpus: cpus.length, memoryBytes: given.size.memoryGib * gib, cpus }], guestCells: false };
      const record = vm(200 + given.n, { spec, ...(given.on === undefined ? {} : { on: given.on }) });
      const placed = record.placement;
      return [
        placed === undefined || given.ownCpus === undefined ? record : { ...record, placement: { ...placed, numa } },
        volume(300 + given.n, { pool: 80, sizeBytes: 2 * gib, ...(given.on === undefined ? {} : { on: given.on }) }),
      ];
    }
    case "cluster":
      return [{ ...cluster(50, { memoryOvercommit: given.overcommit, placementPolicy: given.policy }, "second"), specRevision: given.overcommit }];
    case "network":
      return [network(70, "lan", { bridge: "br0", hosts: given.on.map(id) })];
    case "pool":
      return [poolOf(given.type, given.on, given.sizeGib)];
    case "remove":
      return [];
  }
}

/** Without the order in which hosts of one class are listed, and with scores as far as they are the same for people. */
function shown(decision: PlacementDecision): unknown {
  if (!decision.none) return { host: decision.host, reasons: decision.reasons, numa: decision.numa, score: decision.score.toFixed(9) };
  const classes = decision.classes.map(({ code, text, hosts: ids }) => ({ code, text, hosts: ids.toSorted() }));
  return { reason: decision.reason, classes: classes.toSorted((a, b) => (a.code < b.code ? -1 : 1)) };
}

test("whatever happened before, a decision is that of a snapshot built from the records as they are", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.array(change, { maxLength: 4 }), wish), { minLength: 1, maxLength: 12 }), (steps) => {
      const kept = new SnapshotIndex();
      const records = new Map<string, AnyRecord>();
      const put = (record: AnyRecord): void => {
        records.set(record.id, record);
        kept.update({ type: "upsert", record });
      };
      for (let n = 1; n <= hosts; n += 1) put(host(n));
      put(poolOf("local", [1, 2, 3, 4, 5], 10));
      put(volume(999, { pool: 80, sizeBytes: gib }));
      for (const [changes, { size: wanted, ...wishes }] of steps) {
        for (const given of changes) {
          for (const record of recordsOf(given)) put(record);
          if (given.kind !== "remove") continue;
          records.delete(id(given.n));
          kept.update({ type: "remove", kind: "host", id: id(given.n) });
        }
        const placement = {
          ...(wishes.rack === undefined ? {} : { hostSelector: { rack: wishes.rack } }),
          ...(wishes.apart ? { apart: "x" } : {}),
          ...(wishes.policy === undefined ? {} : { policy: wishes.policy }),
        };
        const nics = wishes.network ? [{ name: "eth0", network: id(70) }] : [];
        const cpu = { count: wanted.count, ...(wishes.cpuPlacement === undefined ? {} : { placement: wishes.cpuPlacement }) };
        const spec = { cpu, ...memory(wanted.memoryGib), placement, nics, ...(wishes.disk ? { disks } : {}) };
        const request = kept.request(vm(998, { spec }));
        const fresh = buildSnapshot(records.values());
        assert.deepEqual(shown(place(request, kept)), shown(place(request, fresh)));
      }
    }),
    { numRuns: 300 },
  );
});
