import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { balanceScore, planBalance } from "./balance-plan.ts";
import type { BalanceMachine, BalanceProblem } from "./balance-problem.ts";
import { hostOf, machineOf, problemOf } from "./balance-problem.test-support.ts";

const gib = 2 ** 30;
const brief = (problem: BalanceProblem, options?: Parameters<typeof planBalance>[1]) =>
  planBalance(problem, options).moves.map(({ machine, from, to }) => [machine, from, to]);

test("a hot host gives the machine that evens both out, with one move", () => {
  const problem = problemOf([hostOf(), hostOf()], [machineOf(0, 2), machineOf(0, 3), machineOf(0, 4), machineOf(1, 1)]);
  const { moves, before, after } = planBalance(problem);
  assert.deepEqual(
    moves.map(({ machine, from, to, after: waitsFor }) => [machine, from, to, waitsFor]),
    [[2, 0, 1, []]],
  );
  assert.deepEqual([before.hottestPercent, before.levelPercent, after.hottestPercent], [90, 50, 50]);
  assert.ok(Math.abs(before.spreadPoints - 40) < 1e-9 && after.spreadPoints < 1e-9);
  assert.deepEqual(moves[0]?.fromPercent, [90, 50]);
  assert.deepEqual(moves[0]?.toPercent, [10, 50]);
});

test("where no machine helps alone, two change places", () => {
  const problem = problemOf([hostOf({ cpus: 20 }), hostOf({ cpus: 20 })], [machineOf(0, 4), machineOf(0, 4), machineOf(1, 3), machineOf(1, 2.5)]);
  assert.deepEqual(
    planBalance(problem)
      .moves.map(({ machine }) => machine)
      .toSorted(),
    [0, 2],
  );
});

test("what binds counts: memory as well as CPU", () => {
  const filled = { usedMemoryBytes: 30 * gib, promisedMemoryBytes: 30 * gib };
  const problem = problemOf([hostOf(), hostOf()], [machineOf(0, 0.1, filled), machineOf(0, 0.1, filled), machineOf(1, 0.1)]);
  assert.deepEqual(brief(problem), [[0, 0, 1]]);
});

test("hot spots alone: hosts that are merely unequal are left as they are", () => {
  const machines = [machineOf(0, 5), machineOf(0, 2), machineOf(1, 1)];
  assert.deepEqual(brief(problemOf([hostOf(), hostOf()], machines), { goal: "hot-spots" }), []);
  assert.deepEqual(brief(problemOf([hostOf(), hostOf()], [...machines, machineOf(0, 2)]), { goal: "hot-spots" }).length, 1);
});

test("machines that may not move stay, and nobody goes to a host that is not open or may not run it", () => {
  const hot = [machineOf(0, 4), machineOf(0, 4, { movable: false })];
  assert.deepEqual(brief(problemOf([hostOf(), hostOf({ open: false })], hot)), []);
  assert.deepEqual(brief(problemOf([hostOf(), hostOf()], hot, (_, host) => host === 0)), []);
  assert.deepEqual(brief(problemOf([hostOf(), hostOf()], hot)), [[0, 0, 1]]);
  assert.deepEqual(brief(problemOf([hostOf(), hostOf()], [machineOf(0, 4, { movable: false }), machineOf(0, 4, { movable: false })])), []);
});

test("a machine apart from another waits until that one has left its target", () => {
  // Only an exchange helps, and both are of one group with nobody else: neither may be where the other still is.
  const group = { apart: "db" };
  const hosts = [hostOf(), hostOf(), hostOf({ cpus: 1000 })];
  const { moves } = planBalance(problemOf(hosts.slice(0, 2), [machineOf(0, 8, group), machineOf(1, 2, group)]));
  assert.deepEqual(moves, [], "there is no third host, and the exchange would even nothing out");
});

test("maximumMoves bounds the plan, and what is done first helps most", () => {
  const machines = [...Array.from({ length: 8 }, () => machineOf(0, 1)), ...Array.from({ length: 4 }, () => machineOf(1, 2))];
  const problem = problemOf([hostOf(), hostOf(), hostOf(), hostOf()], machines);
  const few = planBalance(problem, { maximumMoves: 2 });
  assert.equal(few.moves.length, 2);
  assert.ok(few.after.spreadPoints < few.before.spreadPoints);
});

test("an even cluster is left alone", () => {
  const machines = [0, 1, 2].flatMap((host) => [machineOf(host, 2), machineOf(host, 3.01)]);
  assert.deepEqual(brief(problemOf([hostOf(), hostOf(), hostOf()], machines)), []);
});

const cluster = fc
  .record({
    hosts: fc.array(fc.record({ cpus: fc.integer({ min: 4, max: 16 }), gibs: fc.integer({ min: 8, max: 64 }), open: fc.boolean() }), {
      minLength: 1,
      maxLength: 6,
    }),
    machines: fc.array(
      fc.record({
        host: fc.nat(),
        used: fc.integer({ min: 0, max: 40 }),
        cpus: fc.integer({ min: 1, max: 8 }),
        gibs: fc.integer({ min: 1, max: 16 }),
        movable: fc.boolean(),
        apart: fc.option(fc.constantFrom("a", "b"), { nil: undefined }),
      }),
      { maxLength: 30 },
    ),
    forbidden: fc.array(fc.tuple(fc.nat(29), fc.nat(5)), { maxLength: 10 }),
  })
  .map(({ hosts, machines, forbidden }) => {
    const problem = problemOf(
      hosts.map(({ cpus, gibs, open }) =>
        hostOf({ cpus, memoryBytes: gibs * gib, promisableCpus: cpus * 4, promisableMemoryBytes: gibs * gib, open }),
      ),
      machines.map(({ host, used, cpus, gibs, movable, apart }) =>
        machineOf(host % hosts.length, (used / 40) * cpus, {
          promisedCpus: cpus,
          promisedMemoryBytes: gibs * gib,
          usedMemoryBytes: (gibs * gib) / 2,
          movable,
          ...(apart === undefined ? {} : { apart }),
        }),
      ),
      (machine, host) => !forbidden.some(([one, other]) => one === machine && other === host),
    );
    return problem;
  });

/** Every prefix of the plan, and every set of moves that may run at once, keeps all hard rules: what is under way is promised on both sides. */
function checkExecutable(problem: BalanceProblem, { moves, before, after }: ReturnType<typeof planBalance>): void {
  const { hosts, machines, mayRun } = problem;
  const at = machines.map(({ host }) => host);
  const done = new Set<number>();
  // As late as can be: a move ends only when one that waits for it, or the machine's next one, is to begin.
  const underWay = new Map<number, number>();
  const end = (index: number): void => {
    const move = moves[index];
    if (move === undefined || done.has(index)) return;
    done.add(index);
    underWay.delete(index);
    at[move.machine] = move.to;
  };
  moves.forEach((move, index) => {
    for (const earlier of move.after) end(earlier);
    assert.equal(at[move.machine], move.from, "it leaves the host that it is on");
    underWay.set(index, move.machine);
    const to = hosts[move.to];
    assert.ok(to?.open && mayRun(move.machine, move.to) && machines[move.machine]?.movable, "it may go there");
    const there = new Set(machines.flatMap((_, machine) => (at[machine] === move.to ? [machine] : [])));
    for (const [other, machine] of underWay) if (moves[other]?.to === move.to) there.add(machine);
    const sum = (of: (machine: BalanceMachine | undefined) => number): number => [...there].reduce((all, machine) => all + of(machines[machine]), 0);
    assert.ok(sum((machine) => machine?.promisedMemoryBytes ?? 0) <= to.promisableMemoryBytes, "memory promised twice");
    assert.ok(sum((machine) => machine?.promisedCpus ?? 0) <= to.promisableCpus, "CPUs promised twice");
    const group = machines[move.machine]?.apart;
    if (group !== undefined)
      assert.equal([...there].filter((machine) => machines[machine]?.apart === group).length, 1, "machines that stay apart meet");
  });
  assert.ok(after.spreadPoints <= before.spreadPoints + 1e-9, "it is no less even than before");
}

test("whatever the cluster: each move is possible when its turn comes, with all that may still be under way", () => {
  fc.assert(
    fc.property(cluster, (problem) => {
      checkExecutable(problem, planBalance(problem));
      checkExecutable(problem, planBalance(problem, { goal: "hot-spots", hotUse: 0.5 }));
    }),
    { numRuns: 500 },
  );
});

test("same cluster, same plan", () => {
  fc.assert(
    fc.property(cluster, (problem) => {
      const plan = planBalance(problem);
      assert.deepEqual(planBalance(problem), plan);
      assert.deepEqual(balanceScore(problem), plan.before);
    }),
  );
});
