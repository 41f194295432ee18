import assert from "node:assert/strict";
import { test } from "node:test";
import { disagreements, type LabFigures } from "./calibration.ts";
import { defaultTimes } from "./hypervisor-model.ts";

const lab: LabFigures = {
  define: [10, 20, 30],
  start: [400, 500, 4000],
  boot: [3000, 5000, 7000],
  shutdown: [300, 400, 500],
  finish: [20, 40, 60],
  migrationBytesPerSecond: [2e8, 3e8, 4e8],
  dirtyShare: [0.01, 0.02, 0.03],
};

test("a model that is near the lab's best samples agrees with it; slower ones change nothing", () => {
  assert.deepEqual(disagreements(defaultTimes, lab), []);
  assert.deepEqual(
    disagreements(defaultTimes, { ...lab, start: [...lab.start, 60_000], migrationBytesPerSecond: [...lab.migrationBytesPerSecond, 1] }),
    [],
  );
});

test("a model that is far off is named, too slow as well as too fast", () => {
  assert.match(
    disagreements({ ...defaultTimes, boot: [60_000, 90_000] }, lab).join(),
    /^boot: the lab's best is 3000, the model says 60000 to 90000/,
  );
  assert.match(disagreements({ ...defaultTimes, start: 5 }, lab).join(), /^start:/);
  assert.match(disagreements({ ...defaultTimes, migrationBytesPerSecond: 2 ** 36 }, lab).join(), /^migrationBytesPerSecond:/);
});

test("what was not measured does not pass", () => {
  assert.match(disagreements(defaultTimes, { ...lab, finish: [] }).join(), /^finish: nothing was measured/);
});
