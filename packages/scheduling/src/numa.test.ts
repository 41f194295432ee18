import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostObservation, NumaPlacement, VmSpec } from "@sheaf/model";
import type { z } from "zod";
import { cellUpkeep } from "./numa-upkeep.ts";
import { place, rank, refusalsOf } from "./place.ts";
import { planBatch } from "./plan-batch.ts";
import { type SnapshotIndex, buildSnapshot } from "./snapshot.ts";
import { gib, host, id, vm } from "./testing/records.ts";

type Cell = HostObservation["numa"][number];
const mib = 2 ** 20;

/** Cells of four CPUs each, numbered through. */
const cells = (...memoryGibs: number[]): Cell[] =>
  memoryGibs.map((memoryGib, cell) => ({ cell, cpus: [0, 1, 2, 3].map((cpu) => cell * 4 + cpu), memoryBytes: memoryGib * gib, hugepages: [] }));

function numaHost(n: number, numa: Cell[], overcommit = 4, spec: object = {}) {
  const memoryBytes = numa.reduce((sum, cell) => sum + cell.memoryBytes, 0);
  return host(n, { cpus: numa.reduce((sum, cell) => sum + cell.cpus.length, 0), memoryBytes, numa, spec: { cpuOvercommit: overcommit, ...spec } });
}

const machine = (n: number, memoryGib: number, count: number, placement?: "floating" | "cell" | "dedicated", more: z.input<typeof VmSpec> = {}) =>
  vm(n, {
    ...more,
    spec: { cpu: { count, ...(placement === undefined ? {} : { placement }) }, memory: { bytes: memoryGib * gib }, ...more },
  });

const decide = (snapshot: SnapshotIndex, record: ReturnType<typeof machine>) => place(snapshot.request(record), snapshot);
/** Decided, and booked. */
function put(snapshot: SnapshotIndex, record: ReturnType<typeof machine>): NumaPlacement | undefined {
  const [decided] = planBatch([snapshot.request(record)], snapshot);
  assert.ok(decided !== undefined);
  assert.ok(!decided.decision.none, decided.decision.none ? decided.decision.reason : "");
  return decided.decision.numa;
}
const short = (numa: NumaPlacement | undefined) =>
  numa?.cells.map(({ cell, vcpus, memoryBytes, cpus }) => [cell, vcpus, memoryBytes / gib, ...(cpus === undefined ? [] : [cpus])]);
const reason = (snapshot: SnapshotIndex, record: ReturnType<typeof machine>): string => {
  const decision = decide(snapshot, record);
  return decision.none ? decision.reason : `host ${decision.host}`;
};

test("a machine goes into one cell: the one left with least memory while each vCPU has a CPU, then the one where fewest share", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(16, 8))]);
  assert.deepEqual(short(put(snapshot, machine(10, 2, 2))), [[1, 2, 2]], "large machines stay placeable in cell 0");
  assert.deepEqual(short(put(snapshot, machine(11, 2, 2))), [[1, 2, 2]]);
  assert.deepEqual(short(put(snapshot, machine(12, 2, 2))), [[0, 2, 2]], "cell 1 has no CPU left for each");
  assert.deepEqual(short(put(snapshot, machine(13, 2, 2))), [[0, 2, 2]]);
  assert.deepEqual(short(put(snapshot, machine(14, 2, 2))), [[1, 2, 2]], "both are shared now: that with less memory left");
  assert.deepEqual(short(put(snapshot, machine(15, 2, 2))), [[0, 2, 2]], "the less crowded one");
});

test("one that is larger than any cell is spread over the fewest, and its guest is shown them", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8, 8, 8, 8))]);
  const found = put(snapshot, machine(10, 12, 6));
  assert.deepEqual(short(found), [
    [0, 3, 6],
    [1, 3, 6],
  ]);
  assert.equal(found?.guestCells, true);
  assert.equal(put(snapshot, machine(11, 2, 6))?.cells.length, 2, "six vCPUs do not fit into a cell of four CPUs");
});

test("one that asks for nothing floats where no cells have room, and is not refused", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8, 8))]);
  put(snapshot, machine(10, 6, 1));
  put(snapshot, machine(11, 6, 1));
  assert.equal(put(snapshot, machine(12, 3, 1)), undefined);
  assert.equal(put(snapshot, machine(13, 1, 1, "floating")), undefined);
});

test("hosts where it is whole come first, whatever their score", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8, 8)), numaHost(2, cells(16))]);
  const decision = place(snapshot.request(machine(10, 10, 2)), snapshot, "spread");
  assert.equal(decision.none ? decision.reason : decision.host, id(2));
  assert.deepEqual(
    rank(snapshot.request(machine(10, 10, 2)), snapshot).map(({ name }) => name),
    ["host-2", "host-1"],
  );
});

test("a host with one cell has no book, but for CPUs of one's own and huge pages", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8))]);
  assert.equal(put(snapshot, machine(10, 1, 1)), undefined);
  assert.equal(put(snapshot, machine(11, 1, 1, "cell")), undefined);
  assert.deepEqual(short(put(snapshot, machine(12, 1, 2, "dedicated"))), [[0, 2, 1, [0, 1]]]);
});

test("CPUs of one's own are nobody else's, and take their share from those who share", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8, 8), 2)]);
  assert.equal(snapshot.usage(id(1))?.cpuCapacity, 16);
  assert.deepEqual(short(put(snapshot, machine(10, 1, 3, "dedicated"))), [[0, 3, 1, [0, 1, 2]]]);
  assert.deepEqual(short(put(snapshot, machine(11, 1, 2, "dedicated"))), [[1, 2, 1, [4, 5]]]);
  assert.deepEqual(short(put(snapshot, machine(12, 1, 1, "dedicated"))), [[0, 1, 1, [3]]]);
  assert.equal(snapshot.usage(id(1))?.cpuCapacity, 2 * 2 + 6);
  assert.deepEqual(short(put(snapshot, machine(13, 1, 2))), [[1, 2, 1]], "cell 0 has nothing left to share");
  assert.equal(reason(snapshot, machine(14, 1, 3, "floating")), "no host fits: 1 lacks CPU (largest free 2 vCPUs)");
  assert.equal(reason(snapshot, machine(14, 1, 2, "dedicated")), "no host fits: 1 lacks CPUs to dedicate (largest free 1 CPU)");
  assert.deepEqual(short(put(snapshot, machine(14, 1, 1, "dedicated"))), [[1, 1, 1, [6]]], "two vCPUs go on sharing CPU 7");
  assert.equal(reason(snapshot, machine(15, 1, 1)), "no host fits: 1 lacks CPU (largest free 0 vCPUs)");
});

test("machines that float count too before a CPU becomes somebody's own", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8), 2)]);
  put(snapshot, machine(10, 1, 5));
  assert.equal(reason(snapshot, machine(11, 1, 2, "dedicated")), "no host fits: 1 lacks CPUs to dedicate (largest free 1 CPU)");
});

test("whole cores are given, and broken ones finished", () => {
  const siblings = [
    [0, 2],
    [1, 3],
  ];
  const [cell] = cells(8);
  assert.ok(cell);
  const snapshot = buildSnapshot([numaHost(1, [{ ...cell, siblings }])]);
  assert.deepEqual(put(snapshot, machine(10, 1, 1, "dedicated"))?.cells[0]?.cpus, [0]);
  assert.deepEqual(put(snapshot, machine(11, 1, 2, "dedicated"))?.cells[0]?.cpus, [1, 3]);
  assert.deepEqual(put(snapshot, machine(12, 1, 1, "dedicated"))?.cells[0]?.cpus, [2]);
});

test("CPUs kept back for the host become nobody's own, and plugged-in vCPUs have theirs from the start", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8), 1, { reservedCpus: 1 })]);
  const growing = vm(10, { spec: { cpu: { count: 1, maximum: 2, placement: "dedicated" } } });
  assert.deepEqual(put(snapshot, growing)?.cells[0]?.cpus, [1, 2]);
  assert.equal(reason(snapshot, machine(11, 1, 2, "dedicated")), "no host fits: 1 lacks CPU (largest free 1 vCPU)");
});

test("CPUs of one's own lie in several cells where one has too few", () => {
  const snapshot = buildSnapshot([numaHost(1, [...cells(8, 0).map((cell) => ({ ...cell, cpus: cell.cpus.slice(0, 1) }))], 1)]);
  const found = put(snapshot, machine(10, 2, 2, "dedicated"));
  assert.deepEqual(short(found), [
    [0, 1, 2, [0]],
    [1, 1, 0, [4]],
  ]);
  assert.equal(found?.guestCells, false, "a cell without memory is not shown to the guest");
});

test("reasons: no cell with so much free, none with vCPUs beside it, and all hosts are counted", () => {
  const snapshot = buildSnapshot([numaHost(1, cells(8, 8)), numaHost(2, cells(8, 8)), numaHost(3, cells(16, 2)), numaHost(4, cells(4))]);
  assert.equal(
    reason(snapshot, machine(10, 12, 8, "cell")),
    "no host fits: 2 have no cell with 12 GiB free (largest free 8 GiB), 1 lacks memory (largest free 4 GiB), 1 has no cell with 8 vCPUs free beside 12 GiB",
  );
  assert.deepEqual(refusalsOf(snapshot.request(machine(10, 12, 2, "cell")), id(1), snapshot), [
    "has no cell with 12 GiB free (8 GiB free, 12 GiB needed)",
  ]);
});

const paged = (...counts: number[]): Cell[] =>
  cells(...counts.map(() => 8)).map((cell, place) => ({ ...cell, hugepages: [{ sizeBytes: 2 * mib, count: counts[place] ?? 0 }] }));
const inPages = (n: number, memoryGib: number, placement?: "cell") =>
  vm(n, { spec: { cpu: { count: 2, ...(placement === undefined ? {} : { placement }) }, memory: { bytes: memoryGib * gib, hugepages: true } } });

test("huge pages are booked in the cell that has them, and never twice", () => {
  const snapshot = buildSnapshot([numaHost(1, paged(512, 1024))]);
  assert.deepEqual(put(snapshot, inPages(10, 1))?.cells, [{ cell: 0, vcpus: 2, memoryBytes: gib, pageBytes: 2 * mib }]);
  assert.deepEqual(put(snapshot, inPages(11, 1))?.cells[0]?.cell, 1);
  assert.equal(reason(snapshot, inPages(12, 2, "cell")), "no host fits: 1 lacks huge pages (largest free 1 GiB)");
  assert.equal(put(snapshot, inPages(12, 1, "cell"))?.cells[0]?.cell, 1);
  const halves = buildSnapshot([numaHost(1, paged(512, 512))]);
  assert.equal(reason(halves, inPages(10, 2, "cell")), "no host fits: 1 lacks 1024 huge pages of 2 MiB free in one cell (largest free 1 GiB)");
  assert.deepEqual(short(put(halves, inPages(10, 2))), [
    [0, 1, 1],
    [1, 1, 1],
  ]);
});

test("the largest pages that hold it without waste are taken", () => {
  const [cell] = cells(16);
  assert.ok(cell);
  const hugepages = [
    { sizeBytes: 2 * mib, count: 1024 },
    { sizeBytes: gib, count: 4 },
  ];
  const snapshot = buildSnapshot([numaHost(1, [{ ...cell, hugepages }])]);
  assert.equal(put(snapshot, inPages(10, 2))?.cells[0]?.pageBytes, gib);
  assert.equal(put(snapshot, inPages(11, 1.5))?.cells[0]?.pageBytes, 2 * mib);
});

test("a guest that moves while it runs keeps the cells that it sees", () => {
  const numa: NumaPlacement = {
    cells: [
      { cell: 0, vcpus: 3, memoryBytes: 6 * gib },
      { cell: 1, vcpus: 3, memoryBytes: 6 * gib },
    ],
    guestCells: true,
  };
  const running = { state: "running" } as never; // the state alone is asked for
  const placed = machine(10, 12, 6, undefined, {});
  const record = { ...placed, placement: { host: id(1), epoch: 1, incarnation: "i", at: 0, numa }, status: { agent: running } };
  const small = Array.from({ length: 3 }, (_, n) => ({ cell: n, cpus: [n * 3, n * 3 + 1, n * 3 + 2], memoryBytes: 8 * gib, hugepages: [] }));
  const [whole] = cells(32);
  assert.ok(whole);
  const wide = { ...whole, cpus: Array.from({ length: 8 }, (_, cpu) => cpu) };
  const snapshot = buildSnapshot([
    numaHost(1, cells(8, 8)),
    numaHost(2, small),
    numaHost(3, [wide, { ...wide, cell: 1, cpus: [8, 9, 10, 11] }]),
    record,
  ]);
  const request = snapshot.request(record, "move");
  const on = (n: number) => snapshot.cellsOn(request, snapshot.table.slotOf(id(n)));
  assert.deepEqual(short(on(2) ?? undefined), [
    [0, 3, 6],
    [1, 3, 6],
  ]);
  assert.deepEqual(short(on(3) ?? undefined), [
    [0, 3, 6],
    [0, 3, 6],
  ]);
  assert.equal(on(3)?.guestCells, true);
  const single = { ...record, placement: { host: id(1), epoch: 1, incarnation: "i", at: 0 } };
  assert.equal(
    snapshot.cellsOn(snapshot.request(single, "move"), snapshot.table.slotOf(id(2))),
    undefined,
    "one that sees one cell is not shown two",
  );
  assert.equal(snapshot.cellsOn(snapshot.request(single), snapshot.table.slotOf(id(2)))?.cells.length, 2);
});

test("a moving machine has cells on both hosts, and none on the one that it left", () => {
  const own = (cpu: number): NumaPlacement => ({ cells: [{ cell: 0, vcpus: 1, memoryBytes: gib, cpus: [cpu] }], guestCells: false });
  const record = machine(10, 1, 1, "dedicated");
  const at = (n: number, cpu: number) => ({ host: id(n), epoch: n, incarnation: "i", at: 0, numa: own(cpu) });
  const migration = { task: "t", phase: "p", source: id(1), target: id(2), since: 0, sourceNuma: own(1), targetNuma: own(2) };
  const snapshot = buildSnapshot([numaHost(1, cells(8)), numaHost(2, cells(8))]);
  const taken = (n: number) => snapshot.table.numa.cells(snapshot.table.slotOf(id(n)))[0]?.ownCpus;
  const now = (given: object): unknown => snapshot.update({ type: "upsert", record: { ...record, ...given } });
  now({ placement: at(1, 1) });
  assert.deepEqual([taken(1), taken(2)], [1, 0]);
  now({ placement: at(1, 1), status: { migration } });
  assert.deepEqual([taken(1), taken(2)], [1, 1]);
  now({ placement: at(2, 2), status: { migration } });
  assert.deepEqual([taken(1), taken(2)], [1, 1]);
  now({ placement: at(2, 2) });
  assert.deepEqual([taken(1), taken(2)], [0, 1]);
  assert.equal(snapshot.usage(id(1))?.cpuCapacity, 16);
});

test("cells are kept in step with the spec, and what has no room is left as it is", () => {
  const numa: NumaPlacement = { cells: [{ cell: 0, vcpus: 2, memoryBytes: gib }], guestCells: false };
  const placement = { host: id(1), epoch: 1, incarnation: "i", at: 0 };
  const other = {
    ...machine(11, 1, 3, "dedicated"),
    placement: { ...placement, numa: { cells: [{ cell: 0, vcpus: 3, memoryBytes: gib, cpus: [1, 2, 3] }], guestCells: false } },
  };
  const on = (record: ReturnType<typeof machine>, its: NumaPlacement | undefined) => ({
    ...record,
    placement: { ...placement, ...(its === undefined ? {} : { numa: its }) },
  });
  const snapshot = buildSnapshot([numaHost(1, cells(8)), other]);
  const looked = (record: ReturnType<typeof on>) => {
    snapshot.update({ type: "upsert", record });
    const upkeep = cellUpkeep(record, snapshot);
    if (upkeep.do !== "put") return upkeep.do === "refuse" ? upkeep.reason : upkeep.do;
    const answer = short(snapshot.reserve(upkeep.request, id(1)));
    snapshot.release(upkeep.request);
    return answer;
  };
  assert.equal(looked(on(machine(10, 1, 2), numa)), "keep");
  assert.equal(looked(on(machine(10, 1, 2), undefined)), "keep");
  assert.equal(looked(on(machine(10, 1, 2, "floating"), numa)), undefined, "it floats from now on");
  assert.deepEqual(looked(on(machine(10, 1, 1, "dedicated"), numa)), [[0, 1, 1, [0]]]);
  assert.equal(looked(on(machine(10, 1, 2, "dedicated"), numa)), "its host host-1 lacks CPUs to dedicate (1 CPU free, 2 CPUs needed)");
  const own: NumaPlacement = { cells: [{ cell: 0, vcpus: 1, memoryBytes: gib, cpus: [0] }], guestCells: false };
  assert.equal(looked(on(machine(10, 1, 1, "dedicated"), own)), "keep");
  const gone: NumaPlacement = { cells: [{ cell: 0, vcpus: 1, memoryBytes: gib, cpus: [9] }], guestCells: false };
  assert.deepEqual(looked(on(machine(10, 1, 1, "dedicated"), gone)), [[0, 1, 1, [0]]], "the host has no such CPU any more");
});

test("one that gave way and is down gives its CPUs back, and gets others when it may run again", () => {
  const own = (cpu: number): NumaPlacement => ({ cells: [{ cell: 0, vcpus: 1, memoryBytes: gib, cpus: [cpu] }], guestCells: false });
  const placement = { host: id(1), epoch: 1, incarnation: "i", at: 0, numa: own(0) };
  const seen = { state: "stopped", epoch: 1, gaveWay: 5 } as never; // what is asked for of it
  const down = { ...machine(10, 1, 1, "dedicated"), placement, status: { agent: seen, yield: { epoch: 1, to: id(11), reason: "", since: 5 } } };
  const snapshot = buildSnapshot([numaHost(1, cells(8), 1), down]);
  assert.equal(cellUpkeep(down, snapshot).do, "clear");
  assert.deepEqual(short(put(snapshot, machine(11, 1, 1, "dedicated"))), [[0, 1, 1, [0]]]);
  const { numa: _numa, ...bare } = placement;
  const again = { ...down, placement: bare, status: { agent: seen } };
  snapshot.update({ type: "upsert", record: again });
  const upkeep = cellUpkeep(again, snapshot);
  assert.deepEqual(upkeep.do === "put" && short(snapshot.reserve(upkeep.request, id(1))), [[0, 1, 1, [1]]]);
});
