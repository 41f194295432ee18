import assert from "node:assert/strict";
import { test } from "node:test";
import type { BalanceMachine, BalanceProblem } from "./balance-problem.ts";
import { planMending } from "./mend-rules.ts";

const gib = 2 ** 30;
const options = { hotUse: 0.85, maximumMoves: 20 };

function problemOf(hosts: number, machines: readonly Partial<BalanceMachine>[], mayRun: BalanceProblem["mayRun"] = () => true): BalanceProblem {
  return {
    hosts: Array.from({ length: hosts }, (_, index) => ({
      id: `host-${index}`,
      ...{ cpus: 10, memoryBytes: 100 * gib, usedCpus: 0, usedMemoryBytes: 0, promisableCpus: 40, promisableMemoryBytes: 100 * gib, open: true },
    })),
    machines: machines.map((given, index) => ({
      id: `machine-${index}`,
      ...{ host: 0, usedCpus: 1, usedMemoryBytes: gib, promisedCpus: 1, promisedMemoryBytes: 10 * gib, moveSeconds: 1, movable: true },
      ...given,
    })),
    mayRun,
  };
}
const moved = (problem: BalanceProblem, misplaced: Parameters<typeof planMending>[1], limits = options) =>
  planMending(problem, misplaced, limits).map(({ machine, from, to }) => [machine, from, to]);

test("a machine goes where it may and does least harm; nothing else moves", () => {
  const problem = problemOf(4, [{}, { host: 1, usedCpus: 5 }, { host: 3, usedCpus: 2 }], (_, host) => host !== 2);
  assert.deepEqual(moved(problem, [{ machine: 0, groups: [] }]), [[0, 0, 3]]);
  assert.deepEqual(moved(problem, []), []);
});

test("of those that break a rule together one moves, the quickest", () => {
  const problem = problemOf(3, [{ moveSeconds: 9 }, { moveSeconds: 2 }, { moveSeconds: 5 }]);
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
  assert.deepEqual(moved(problemOf(2, [{ movable: false }]), alone), []);
  assert.deepEqual(moved(problemOf(2, [{}, { host: 1, usedCpus: 8 }]), alone), []);
  const two = [...alone, { machine: 1, groups: [] }];
  assert.equal(moved(problemOf(3, [{}, {}]), two, { ...options, maximumMoves: 1 }).length, 1);
});
