import assert from "node:assert/strict";
import { test } from "node:test";
import { Ring } from "./ring.ts";

const ring = () => new Ring({ columns: ["cpu", "memory"], resolutionMs: 1000, rows: 4 });

test("keeps one row for each span, the last values of a span, oldest first", () => {
  const kept = ring();
  kept.add(0, { cpu: 0.5, memory: 1 });
  kept.add(900, { cpu: 0.75, memory: 2 });
  kept.add(2100, { cpu: 1, memory: 3 });
  assert.deepEqual(kept.points(), [
    { at: 0, values: { cpu: 0.75, memory: 2 } },
    { at: 2000, values: { cpu: 1, memory: 3 } },
  ]);
});

test("forgets what is older than its rows, and shows no old row in a gap", () => {
  const kept = ring();
  for (let second = 0; second < 6; second += 1) kept.add(second * 1000, { cpu: second });
  assert.deepEqual(
    kept.points().map((point) => point.at),
    [2000, 3000, 4000, 5000],
  );
  kept.add(8000, { cpu: 8 });
  assert.deepEqual(
    kept.points().map((point) => point.values.cpu),
    [5, 8],
  );
  kept.add(1000, { cpu: 1 });
  assert.deepEqual(
    kept.points().map((point) => point.at),
    [5000, 8000],
  );
  assert.deepEqual(
    kept.points(6000).map((point) => point.at),
    [8000],
  );
});

test("says that a column was not given", () => {
  const kept = ring();
  kept.add(0, { cpu: 1 });
  assert.ok(Number.isNaN(kept.points()[0]?.values.memory));
});
