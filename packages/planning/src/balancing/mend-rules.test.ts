import assert from "node:assert/strict";
import { test } from "node:test";
import type { BalanceProblem } from "./balance-problem.ts";
import { hostOf, machineOf, problemOf } from "./balance-problem.test-support.ts";
import { planMending } from "./mend-rules.ts";

const options = { hotUse: 0.85, maximumMoves: 20 };

const hosts = (count: number) => Array.from({ length: count }, () => hostOf());
const moved = (problem: BalanceProblem, misplaced: Parameters<typeof planMending>[1], limits = options) =>
  planMending(problem, misplaced, limits).map(({ machine, from, to }) => [machine, from, to]);

test("a machine goes where it may and does least harm; nothing else moves", () => {
  const problem = problemOf(hosts(4), [machineOf(0, 1), machineOf(1, 5), machineOf(3, 2)], (_, host) => host !== 2);
  assert.deepEqual(moved(problem, [{ machine: 0, groups: [] }]), [[0, 0, 3]]);
  assert.deepEqual(moved(problem, []), []);
});

test("of those that break a rule together one moves, the quickest", () => {
  const problem = problemOf(
    hosts(3),
    [9, 2, 5].map((moveSeconds) => machineOf(0, 1, { moveSeconds })),
  );
  const all = [0, 1, 2].map((machine) => ({ machine, groups: ["pair"] }));
  assert.deepEqual(moved(problem, all), [[1, 0, 1]]);
  const split = [
    { machine: 0, groups: ["a"] },
    { machine: 1, groups: ["b"] },
    { machine: 2, groups: ["a", "b"] },
  ];
  assert.deepEqual(
    moved(problem, split).map(([machine]) => machine),
    [1, 0],
  );
});

test("who may not move, or finds no host below the limit, stays; no more than so many move", () => {
  const alone = [{ machine: 0, groups: [] }];
  assert.deepEqual(moved(problemOf(hosts(2), [machineOf(0, 1, { movable: false })]), alone), []);
  assert.deepEqual(moved(problemOf(hosts(2), [machineOf(0, 1), machineOf(1, 8)]), alone), []);
  const two = [...alone, { machine: 1, groups: [] }];
  assert.equal(moved(problemOf(hosts(3), [machineOf(0, 1), machineOf(0, 1)]), two, { ...options, maximumMoves: 1 }).length, 1);
});
