import assert from "node:assert/strict";
import { test } from "node:test";
import type { BalanceProblem } from "./balance-problem.ts";
import { planBalance } from "./balance-plan.ts";
import { judgeMoves, movesOutdated } from "./judge-moves.ts";

/** Hosts of ten CPUs with machines of so many each, and the moves that the planner finds. */
function problemOf(
  cpus: readonly (readonly number[])[],
  given: { readonly closed?: number; readonly settled?: number; readonly room?: number } = {},
): BalanceProblem {
  const machines = cpus.flatMap((uses, host) => uses.map((usedCpus) => ({ host, usedCpus })));
  return {
    hosts: cpus.map((_, index) => ({
      ...{ id: `h${index}`, cpus: 10, memoryBytes: 100, usedCpus: 0, usedMemoryBytes: 0, promisableCpus: 40 },
      promisableMemoryBytes: index === 1 ? (given.room ?? 100) : 100,
      open: index !== given.closed,
    })),
    machines: machines.map(({ host, usedCpus }, index) => ({
      ...{ id: `m${index}`, host, usedCpus, usedMemoryBytes: 1, promisedCpus: 1, promisedMemoryBytes: 10, moveSeconds: 1 },
      movable: index !== given.settled,
    })),
    mayRun: () => true,
  };
}
const uses = [[5, 2, 2], [1], [1]];
const plan = planBalance(problemOf(uses));
const outdated = (now: BalanceProblem): string | null => movesOutdated(judgeMoves(now, plan.moves, 0.85), { before: plan.before, after: plan.after });

test("moves are what they were while the cluster is about what it was", () => {
  assert.ok(plan.moves.length > 0);
  const { after, impossible } = judgeMoves(problemOf(uses), plan.moves, 0.85);
  assert.deepEqual(impossible, []);
  assert.equal(after.spreadPoints.toFixed(9), plan.after.spreadPoints.toFixed(9));
  assert.equal(outdated(problemOf(uses)), null);
  assert.equal(outdated(problemOf([[4.6, 2.1, 2], [1.2], [0.9]])), null);
});

test("they are not when one of them is impossible, or they come to less than half of what was promised", () => {
  const [first] = plan.moves;
  assert.ok(first);
  assert.match(outdated(problemOf(uses, { settled: first.machine })) ?? "", /may not be moved now/);
  assert.match(outdated(problemOf(uses, { closed: first.to })) ?? "", /takes no machines now|not possible any more/);
  const now = problemOf(uses);
  const elsewhere = now.machines.map((machine, index) => (index === first.machine ? { ...machine, host: first.to } : machine));
  assert.match(outdated({ ...now, machines: elsewhere }) ?? "", /is not there any more/);
  assert.match(outdated(problemOf(uses, { room: 15 })) ?? "", /no room|not possible any more/);
  assert.equal(outdated(problemOf([[3, 0.5, 0.5], [3], [3]])), "hosts are used otherwise than when it was made");
});

test("a host that has become hot meanwhile takes nothing", () => {
  const { impossible } = judgeMoves(problemOf([[3, 3], [8]]), [{ machine: 0, from: 0, to: 1 }], 0.85);
  assert.deepEqual(impossible, [{ move: 0, why: "its target has become too hot for it" }]);
});
