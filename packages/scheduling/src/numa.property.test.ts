import assert from "node:assert/strict";
import { test } from "node:test";
import type { NumaPlacement } from "@sheaf/model";
import fc from "fast-check";
import type { PlacementDecision } from "./placement-decision.ts";
import { place } from "./place.ts";
import { planBatch } from "./plan-batch.ts";
import { type SnapshotIndex, buildSnapshot } from "./snapshot.ts";
import { gib, host, id, vm } from "./testing/records.ts";

const mib = 2 ** 20;

const hostArbitrary = fc.record({
  cells: fc.array(
    fc.record({ cpus: fc.integer({ min: 1, max: 6 }), memoryGib: fc.integer({ min: 1, max: 8 }), pages: fc.constantFrom(0, 512, 1024) }),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
  threads: fc.constantFrom(1, 2),
  ratio: fc.constantFrom(1, 2, 4),
  reservedCpus: fc.constantFrom(0, 0, 1),
});
const vmArbitrary = fc.record({
  cpus: fc.integer({ min: 1, max: 6 }),
  memoryMib: fc.integer({ min: 1, max: 32 }).map((n) => n * 256),
  placement: fc.constantFrom(undefined, undefined, "floating" as const, "cell" as const, "dedicated" as const, "dedicated" as const),
  hugepages: fc.constantFrom(false, false, true),
});
const site = fc.record({
  hosts: fc.array(hostArbitrary, { minLength: 1, maxLength: 5 }),
  machines: fc.array(vmArbitrary, { minLength: 1, maxLength: 25 }),
});
type Site = typeof site extends fc.Arbitrary<infer T> ? T : never;

function hostRecord(of: Site["hosts"][number], n: number) {
  let cpu = 0;
  const numa = of.cells.map(({ cpus: count, memoryGib, pages }, cell) => {
    const cpus = Array.from({ length: count }, () => cpu++);
    const siblings = of.threads === 1 ? [] : cpus.flatMap((first, at) => (at % 2 === 0 && at + 1 < count ? [[first, first + 1]] : []));
    // As much ordinary memory besides.
    return {
      cell,
      cpus,
      siblings,
      memoryBytes: memoryGib * gib + pages * 2 * mib,
      hugepages: pages === 0 ? [] : [{ sizeBytes: 2 * mib, count: pages }],
    };
  });
  const memoryBytes = numa.reduce((sum, cell) => sum + cell.memoryBytes, 0);
  return host(n, { cpus: cpu, memoryBytes, numa, spec: { cpuOvercommit: of.ratio, reservedCpus: of.reservedCpus } });
}

function vmRecord(of: Site["machines"][number], n: number) {
  const cpu = { count: of.cpus, ...(of.placement === undefined ? {} : { placement: of.placement }) };
  return vm(1000 + n, { spec: { cpu, memory: { bytes: of.memoryMib * mib, hugepages: of.hugepages } } });
}

type Placed = Exclude<PlacementDecision, { none: true }>;

/** No CPU is two machines' own, none of those is shared below what was promised, no page and no cell's memory is given twice. */
function checkSafe(of: Site, hostOf: (n: number) => string, placed: ReadonlyMap<number, Placed>): void {
  of.hosts.forEach((given, n) => {
    const mine = [...placed].filter(([, { host: on }]) => on === hostOf(n)).map(([at, { numa }]) => ({ numa, machine: of.machines[at] }));
    const record = hostRecord(given, n);
    const pieces = mine.flatMap(({ numa }) => numa?.cells ?? []);
    const own = pieces.flatMap(({ cpus }) => cpus ?? []);
    assert.equal(new Set(own).size, own.length, "a CPU is two machines' own");
    const shared = mine.reduce((sum, { machine }) => sum + (machine?.placement === "dedicated" ? 0 : (machine?.cpus ?? 0)), 0);
    const cpus = given.cells.reduce((sum, cell) => sum + cell.cpus, 0) - given.reservedCpus;
    assert.ok(shared <= Math.max(0, cpus - own.length) * given.ratio + 1e-6, "vCPUs that share got less than was promised");
    for (const { cell, cpus: its, memoryBytes, hugepages } of record.status.agent?.numa ?? []) {
      const here = pieces.filter((piece) => piece.cell === cell);
      assert.ok(
        here.every((piece) => (piece.cpus ?? []).every((cpu) => its.includes(cpu))),
        "a CPU of another cell",
      );
      const ordinary = here.reduce((sum, piece) => sum + (piece.pageBytes === undefined ? piece.memoryBytes : 0), 0);
      const paged = here.reduce(
        (sum, piece) => sum + (piece.pageBytes === undefined ? 0 : Math.ceil(piece.memoryBytes / piece.pageBytes) * piece.pageBytes),
        0,
      );
      const pages = hugepages.reduce((sum, { sizeBytes, count }) => sum + sizeBytes * count, 0);
      assert.ok(paged <= pages, "huge pages given twice");
      assert.ok(ordinary <= memoryBytes - pages, "a cell's memory given twice");
    }
    for (const { numa, machine } of mine) checkAnswered(numa, machine, given.cells.length);
  });
}

function checkAnswered(numa: NumaPlacement | undefined, machine: Site["machines"][number] | undefined, cells: number): void {
  if (machine === undefined) return;
  if (machine.placement === "dedicated" || machine.hugepages) assert.ok(numa !== undefined, "CPUs of its own and huge pages are booked");
  if (machine.placement === "cell" && cells > 1) assert.equal(numa?.cells.length, 1, "it lies in one cell");
  if (numa === undefined) return;
  const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
  assert.equal(sum(numa.cells.map(({ vcpus }) => vcpus)), machine.cpus, "every vCPU has a place");
  assert.equal(sum(numa.cells.map(({ memoryBytes }) => memoryBytes)), machine.memoryMib * mib, "all memory has a place");
  if (machine.placement === "dedicated") assert.equal(numa.cells.flatMap(({ cpus }) => cpus ?? []).length, machine.cpus, "a CPU for each vCPU");
  if (numa.guestCells)
    assert.ok(
      numa.cells.every(({ vcpus, memoryBytes }) => vcpus > 0 && memoryBytes > 0),
      "no empty cell is shown",
    );
}

const snapshotOf = (of: Site): SnapshotIndex => buildSnapshot(of.hosts.map(hostRecord));

test("one after the other: nothing is given twice, each gets what it asks for, every refusal names every host", () => {
  fc.assert(
    fc.property(site, (of) => {
      const snapshot = snapshotOf(of);
      const placed = new Map<number, Placed>();
      of.machines.forEach((machine, n) => {
        const request = snapshot.request(vmRecord(machine, n));
        const decision = place(request, snapshot);
        if (decision.none) {
          assert.deepEqual(decision.classes.flatMap(({ hosts }) => hosts).toSorted(), of.hosts.map((_, at) => id(at)).toSorted());
          return;
        }
        assert.deepEqual(decision, place(request, snapshot), "the same answer to the same question");
        const numa = snapshot.reserve(request, decision.host);
        assert.deepEqual(numa, decision.numa, "what is decided is what is booked");
        placed.set(n, decision);
      });
      checkSafe(of, id, placed);
    }),
    { numRuns: 300 },
  );
});

test("in batches, with machines going away between: nothing is given twice, and all is given back", () => {
  fc.assert(
    fc.property(site, fc.array(fc.nat(24)), (of, going) => {
      const snapshot = snapshotOf(of);
      const requests = of.machines.map((machine, n) => snapshot.request(vmRecord(machine, n)));
      const before = of.hosts.map((_, n) => snapshot.usage(id(n)));
      const placed = new Map<number, Placed>();
      const decide = (which: readonly number[]): void => {
        const batch = which.flatMap((n) => requests[n] ?? []);
        for (const [at, { decision }] of planBatch(batch, snapshot).entries()) if (!decision.none) placed.set(which[at] ?? -1, decision);
      };
      decide(requests.map((_, n) => n));
      checkSafe(of, id, placed);
      for (const n of new Set(going)) {
        const request = requests[n];
        if (request === undefined || !placed.delete(n)) continue;
        snapshot.release(request);
      }
      decide(requests.map((_, n) => n).filter((n) => !placed.has(n)));
      checkSafe(of, id, placed);
      for (const request of requests) snapshot.release(request);
      assert.deepEqual(
        of.hosts.map((_, n) => snapshot.usage(id(n))),
        before,
      );
      for (const [n] of of.hosts.entries())
        for (const cell of snapshot.table.numa.cells(snapshot.table.slotOf(id(n))))
          assert.deepEqual([cell.ownCpus, cell.sharedVcpus, cell.memoryUsed], [0, 0, 0]);
    }),
    { numRuns: 200 },
  );
});

test("hosts in another order: as good an answer", () => {
  fc.assert(
    fc.property(site, fc.array(fc.nat(), { minLength: 5, maxLength: 5 }), (of, keys) => {
      const order = of.hosts.map((_, n) => n).toSorted((a, b) => (keys[a] ?? 0) - (keys[b] ?? 0));
      const one = snapshotOf(of);
      const other = buildSnapshot(order.map((n) => hostRecord(of.hosts[n] as Site["hosts"][number], n))); // a permutation of them
      for (const [n, machine] of of.machines.entries()) {
        const request = one.request(vmRecord(machine, n));
        const [a, b] = [place(request, one), place(request, other)];
        assert.equal(a.none, b.none);
        if (a.none || b.none) continue;
        assert.deepEqual([a.host, a.score, a.numa], [b.host, b.score, b.numa]);
        one.reserve(request, a.host);
        other.reserve(request, b.host);
      }
    }),
    { numRuns: 150 },
  );
});
