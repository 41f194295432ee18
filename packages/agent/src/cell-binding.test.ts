import assert from "node:assert/strict";
import { test } from "node:test";
import { unbound } from "@sheaf/domain-xml";
import type { NumaPlacement } from "@sheaf/model";
import { type BindingInput, cellBinding } from "./cell-binding.ts";

const cells = [
  { cell: 0, cpus: [0, 1, 2, 3] },
  { cell: 1, cpus: [4, 5, 6, 7] },
];
const gib = 2 ** 30;
const one: NumaPlacement = { cells: [{ cell: 1, vcpus: 2, memoryBytes: gib }], guestCells: false };
const look = (given: Partial<BindingInput>) => cellBinding({ numa: one, floating: false, cells, taken: new Set(), vcpus: 2, ...given });

test("a machine in a cell runs on its CPUs but those that are others' own, and prefers its memory", () => {
  assert.deepEqual(look({ taken: new Set([5, 0]) }), {
    ...unbound,
    vcpus: [
      [4, 6, 7],
      [4, 6, 7],
    ],
    emulator: [4, 6, 7],
    memory: { mode: "preferred", nodes: [1] },
  });
});

test("one that floats is bound to nothing, until CPUs become somebody's own", () => {
  assert.equal(look({ numa: undefined }), undefined);
  assert.deepEqual(look({ numa: undefined, taken: new Set([0, 1, 2, 3, 4, 5]) }), {
    ...unbound,
    vcpus: [
      [6, 7],
      [6, 7],
    ],
    emulator: [6, 7],
  });
});

test("CPUs of one's own: one for each vCPU; the emulator's threads run beside them, or on them where nothing is left", () => {
  const numa: NumaPlacement = {
    cells: [
      { cell: 0, vcpus: 1, memoryBytes: gib, cpus: [3] },
      { cell: 1, vcpus: 2, memoryBytes: gib, cpus: [4, 6] },
    ],
    guestCells: true,
  };
  assert.deepEqual(look({ numa, taken: new Set([5]) }), {
    vcpus: [[3], [4], [6]],
    emulator: [0, 1, 2, 7],
    memory: null,
    guestCells: [
      { vcpus: 1, memoryBytes: gib, mode: "preferred", node: 0 },
      { vcpus: 2, memoryBytes: gib, mode: "preferred", node: 1 },
    ],
    pageBytes: [],
  });
  assert.deepEqual(look({ numa, taken: new Set([0, 1, 2, 5, 7]) })?.emulator, [3, 4, 6]);
  const full: NumaPlacement = { cells: [{ cell: 0, vcpus: 4, memoryBytes: gib, cpus: [0, 1, 2, 3] }], guestCells: false };
  assert.deepEqual(look({ numa: full })?.emulator, [4, 5, 6, 7], "in the next cell before on a CPU of its own");
});

test("huge pages are forced where they are booked, wherever the vCPUs run; what lies in several cells unseen is dealt out", () => {
  const paged: NumaPlacement = { cells: [{ cell: 0, vcpus: 2, memoryBytes: gib, pageBytes: 2 ** 21 }], guestCells: false };
  assert.deepEqual(look({ numa: paged, floating: true }), {
    ...unbound,
    vcpus: [[], []],
    memory: { mode: "strict", nodes: [0] },
    pageBytes: [2 ** 21],
  });
  const pieces: NumaPlacement = {
    cells: [
      { cell: 0, vcpus: 1, memoryBytes: gib, cpus: [0] },
      { cell: 1, vcpus: 1, memoryBytes: gib, cpus: [4] },
    ],
    guestCells: false,
  };
  assert.deepEqual(look({ numa: pieces })?.memory, { mode: "interleave", nodes: [0, 1] });
  assert.equal(
    look({ numa: { cells: [{ cell: 0, vcpus: 1, memoryBytes: gib, cpus: [0] }], guestCells: false }, cells: cells.slice(0, 1) })?.memory,
    null,
  );
});

test("cells and CPUs that the host does not have (any more) bind nothing", () => {
  assert.equal(look({ cells: cells.slice(0, 1) }), undefined);
  assert.equal(look({ numa: { cells: [{ cell: 0, vcpus: 1, memoryBytes: gib, cpus: [9] }], guestCells: false } }), undefined);
  assert.equal(look({ cells: undefined }), undefined);
});
