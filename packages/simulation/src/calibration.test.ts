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

test("a model that is near the lab's figures agrees with it; a few slow samples change nothing, nor does a single fast one", () => {
  assert.deepEqual(disagreements(defaultTimes, lab), []);
  const slow = { start: [...lab.start, 60_000], migrationBytesPerSecond: [1, 1, ...lab.migrationBytesPerSecond] };
  assert.deepEqual(disagreements(defaultTimes, { ...lab, ...slow, define: [1, ...lab.define] }), []);
});

test("a model that is far off is named, too slow as well as too fast", () => {
  assert.match(
    disagreements({ ...defaultTimes, boot: [60_000, 90_000] }, lab).join(),
    /^boot: the lab's figure is 5000, the model says 60000 to 90000/,
  );
  assert.match(disagreements({ ...defaultTimes, start: 5 }, lab).join(), /^start:/);
  assert.match(disagreements({ ...defaultTimes, migrationBytesPerSecond: 2 ** 36 }, lab).join(), /^migrationBytesPerSecond:/);
});

test("what was not measured does not pass", () => {
  assert.match(disagreements(defaultTimes, { ...lab, finish: [] }).join(), /^finish: nothing was measured/);
});
