/** Plans that look at hours to come: what is calm now and hot at noon is relieved, and no plan makes what will be hot. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { balanceScore, planBalance } from "./balance-plan.ts";
import type { BalanceProblem } from "./balance-problem.ts";
import { judgeMoves } from "./judge-moves.ts";

/** Hosts of ten CPUs; machines by host, each with CPUs now and at each hour to come. */
function problemOf(hosts: readonly (readonly (readonly number[])[])[]): BalanceProblem {
  const machines = hosts.flatMap((uses, host) => uses.map(([usedCpus = 0, ...aheadCpus]) => ({ host, usedCpus, aheadCpus })));
  return {
    hoursAhead: machines[0]?.aheadCpus.length ?? 0,
    hosts: hosts.map((_, index) => ({
      ...{
        id: `h${index}`,
        cpus: 10,
        memoryBytes: 100,
        usedCpus: 0,
        usedMemoryBytes: 0,
        promisableCpus: 100,
        promisableMemoryBytes: 1000,
        open: true,
      },
    })),
    machines: machines.map((machine, index) => ({
      ...{ ...machine, id: `m${index}`, usedMemoryBytes: 1, promisedCpus: 1, promisedMemoryBytes: 1, moveSeconds: 1, movable: true },
    })),
    mayRun: () => true,
  };
}
const options = { goal: "hot-spots", hotUse: 0.85 } as const;
const peaksAfter = (problem: BalanceProblem, options: Parameters<typeof planBalance>[1]) => {
  const hostOf = problem.machines.map(({ host }) => host);
  for (const { machine, to } of planBalance(problem, options).moves) hostOf[machine] = to;
  return problem.hosts.map((_, host) => {
    const here = problem.machines.filter((_machine, index) => hostOf[index] === host);
    const hours = [
      here.map(({ usedCpus }) => usedCpus),
      ...Array.from({ length: problem.hoursAhead ?? 0 }, (_hour, hour) => here.map(({ aheadCpus }) => aheadCpus?.[hour] ?? 0)),
    ];
    return Math.max(...hours.map((uses) => uses.reduce((sum, use) => sum + use, 0) / 10));
  });
};

test("a host that is calm now and will be hot at noon is relieved at night", () => {
  const problem = problemOf([[[1, 5], [1, 5]], [[1, 1]], [[2, 2]]]); // prettier-ignore
  assert.deepEqual(planBalance({ ...problem, hoursAhead: 0 }, options).moves, [], "at a glance nothing is wrong");
  assert.equal(balanceScore(problem).hottestPercent, 100);
  assert.ok(Math.max(...peaksAfter(problem, options)) <= 0.85);
});

test("a host that is hot now is not relieved by one that will be", () => {
  // The second is the emptiest now, and full at noon.
  const problem = problemOf([[[5, 5], [4, 4]], [[0, 8]], [[3, 3]]]); // prettier-ignore
  const [move] = planBalance(problem, options).moves;
  assert.equal(move?.to, 2);
  assert.equal(planBalance({ ...problem, hoursAhead: 0 }, options).moves[0]?.to, 1, "at a glance it is the best target");
});

test("machines that take turns are good company", () => {
  const problem = problemOf([[[4, 1], [4, 1], [1, 4]], [[1, 4], [1, 4]]]); // prettier-ignore
  assert.deepEqual(planBalance(problem, options).moves, [], "no more than 9 and 9");
  assert.ok(judgeMoves(problem, [{ machine: 2, from: 0, to: 1 }], 0.85).impossible.length > 0, "three that peak together");
});

test("no plan brings a host above its limit at any hour, but where it was or the whole cluster is", () => {
  const use = fc.double({ min: 0, max: 4, noNaN: true });
  const machine = fc.tuple(use, use, use, use).map((uses) => [...uses]);
  fc.assert(
    fc.property(
      fc.array(fc.array(machine, { maxLength: 6 }), { minLength: 2, maxLength: 6 }),
      fc.constantFrom("even", "hot-spots"),
      (hosts, goal) => {
        const problem = problemOf(hosts.map((uses, host) => (host === 0 && uses.length === 0 ? [[0, 0, 0, 0]] : uses)));
        const before = peaksAfter(problem, { maximumMoves: 0 });
        const after = peaksAfter(problem, { goal, hotUse: 0.85 });
        const level = balanceScore(problem).levelPercent / 100;
        for (const [host, peak] of after.entries()) assert.ok(peak <= Math.max(0.85, level, before[host] ?? 0) + 1e-6);
      },
    ),
    { numRuns: 150 },
  );
});
