import assert from "node:assert/strict";
import { test } from "node:test";
import { ClusterBalancing } from "@sheaf/model";
import { balanceDue, type Unease } from "./balance-due.ts";

const minute = 60_000;
const score = (hottestPercent: number, spreadPoints = 0) => ({ hottestPercent, spreadPoints, levelPercent: 50 });

/** Looks once a minute. @returns the minutes at which it was due; a plan takes a minute each */
function dueAt(settings: Partial<ClusterBalancing>, scores: readonly ReturnType<typeof score>[]): number[] {
  let unease: Unease = {};
  return scores.flatMap((now, at) => {
    const result = balanceDue(now, ClusterBalancing.parse(settings), unease, at * minute);
    unease = result.due ? { plannedAt: at * minute } : result.unease;
    return result.due ? [at] : [];
  });
}

test("a hot spot that stays is due after its time; one that goes is not", () => {
  const hot = Array.from({ length: 12 }, () => score(90));
  assert.deepEqual(dueAt({ patienceMinutes: 5 }, hot), [5]);
  assert.deepEqual(
    dueAt(
      { patienceMinutes: 5 },
      hot.map((each, at) => (at % 5 === 4 ? score(80) : each)),
    ),
    [],
  );
  assert.deepEqual(dueAt({ patienceMinutes: 0 }, [score(85), score(86)]), [1], "above, not at the limit");
});

test("after a plan it rests", () => {
  assert.deepEqual(
    dueAt(
      { patienceMinutes: 2, pauseMinutes: 10 },
      Array.from({ length: 30 }, () => score(99)),
    ),
    [2, 12, 22],
  );
});

test("unevenness alone matters where the goal is to even out", () => {
  const uneven = Array.from({ length: 4 }, () => score(60, 15));
  assert.deepEqual(dueAt({ patienceMinutes: 2 }, uneven), []);
  assert.deepEqual(dueAt({ patienceMinutes: 2, goal: "even" }, uneven), [2]);
  assert.deepEqual(dueAt({ patienceMinutes: 2, goal: "even", unevenPoints: 15 }, uneven), []);
});
