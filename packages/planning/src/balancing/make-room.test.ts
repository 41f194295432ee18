import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BalanceProblem } from "./balance-problem.ts";
import { planRoom, type WantedRoom } from "./make-room.ts";

const gib = 2 ** 30;
const options = { hotUse: 0.9, maximumMoves: 8 };

/** Hosts of ten CPUs and 100 GiB, all of which may be promised; machines as [host, CPUs, GiB, movable]. */
function problemOf(
  hosts: number,
  machines: readonly (readonly [host: number, cpus: number, memoryGib: number, movable?: boolean])[],
): BalanceProblem {
  const promised = (host: number, figure: 1 | 2): number => machines.filter(([at]) => at === host).reduce((sum, machine) => sum + machine[figure], 0);
  return {
    hosts: Array.from({ length: hosts }, (_, index) => ({
      id: `host-${index}`,
      ...{ cpus: 10, memoryBytes: 100 * gib, usedCpus: 0, usedMemoryBytes: 0, open: true },
      promisableCpus: Math.max(10, promised(index, 1)),
      promisableMemoryBytes: Math.max(100, promised(index, 2)) * gib,
    })),
    machines: machines.map(([host, cpus, memoryGib, movable = true], index) => ({
      id: `machine-${index}`,
      ...{ host, usedCpus: cpus / 4, usedMemoryBytes: (memoryGib * gib) / 4, promisedCpus: cpus, promisedMemoryBytes: memoryGib * gib },
      ...{ moveSeconds: memoryGib, movable },
    })),
    mayRun: () => true,
  };
}

const wanted = (cpus: number, memoryGib: number, mayRun: WantedRoom["mayRun"] = () => true): WantedRoom => ({
  cpus,
  memoryBytes: memoryGib * gib,
  mayRun,
});

test("one move makes room for what no host has room for", () => {
  const problem = problemOf(3, [
    [0, 4, 40],
    [0, 2, 20],
    [1, 5, 50],
    [2, 4, 40],
    [2, 2, 20],
  ]);
  const plan = planRoom(problem, wanted(6, 60), options);
  assert.deepEqual(
    plan?.moves.map(({ machine, from, to }) => [machine, from, to]),
    [[1, 0, 1]],
  );
  assert.equal(plan?.host, 0);
});

test("nothing moves where there is room, none where no host may take it or nothing may leave", () => {
  const problem = problemOf(2, [
    [0, 4, 40],
    [1, 8, 80, false],
  ]);
  assert.deepEqual(planRoom(problem, wanted(6, 60), options), { host: 0, moves: [] });
  assert.equal(
    planRoom(
      problem,
      wanted(6, 60, (host) => host === 1),
      options,
    ),
    null,
  );
  assert.equal(planRoom(problem, wanted(11, 10), options), null);
});

test("no host is made hotter than the limit", () => {
  const problem = problemOf(2, [
    [0, 2, 20],
    [0, 6, 60],
    [1, 4, 40],
  ]);
  const busy = { ...problem, hosts: problem.hosts.map((host, index) => (index === 1 ? { ...host, usedCpus: 7.9 } : host)) };
  assert.notEqual(
    planRoom(
      problem,
      wanted(4, 40, (host) => host === 0),
      options,
    ),
    null,
  );
  assert.equal(
    planRoom(
      busy,
      wanted(4, 40, (host) => host === 0),
      options,
    ),
    null,
  );
});

const machines = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 5, max: 50 }), fc.boolean()), {
  maxLength: 12,
});

/** The fewest machines that must leave any host, whether or not they find another. */
function lowerBound(problem: BalanceProblem, { cpus, memoryBytes }: WantedRoom): number {
  let fewest = Number.POSITIVE_INFINITY;
  for (const [index, host] of problem.hosts.entries()) {
    const there = problem.machines.filter((machine) => machine.host === index);
    for (let leaving = 0; leaving < 2 ** there.length; leaving += 1) {
      const stays = there.filter((_, at) => (leaving & (1 << at)) === 0);
      if (there.some((machine, at) => (leaving & (1 << at)) !== 0 && !machine.movable)) continue;
      const sum = (figure: (machine: (typeof there)[number]) => number): number => stays.reduce((all, machine) => all + figure(machine), 0);
      const fits =
        sum(({ promisedCpus }) => promisedCpus) + cpus <= host.promisableCpus &&
        sum(({ promisedMemoryBytes }) => promisedMemoryBytes) + memoryBytes <= host.promisableMemoryBytes;
      if (fits) fewest = Math.min(fewest, there.length - stays.length);
    }
  }
  return fewest;
}

test("property: afterwards the host has the room, every step is possible, and up to three moves are as few as can be where all others are empty", () => {
  fc.assert(
    fc.property(machines, fc.integer({ min: 1, max: 8 }), fc.integer({ min: 5, max: 90 }), (given, cpus, memoryGib) => {
      const problem = problemOf(4, given);
      const request = wanted(cpus, memoryGib);
      const plan = planRoom(problem, request, options);
      const spare = planRoom(
        { ...problem, hosts: [...problem.hosts, ...problemOf(8, []).hosts] },
        wanted(cpus, memoryGib, (host) => host < 4),
        options,
      );
      const bound = lowerBound(problem, request);
      if (bound <= 3) assert.equal(spare?.moves.length, bound);
      if (plan === null) return;
      const free = problem.hosts.map((host, index) => {
        const there = problem.machines.filter((machine) => machine.host === index);
        return {
          cpus: host.promisableCpus - there.reduce((sum, machine) => sum + machine.promisedCpus, 0),
          bytes: host.promisableMemoryBytes - there.reduce((sum, machine) => sum + machine.promisedMemoryBytes, 0),
        };
      });
      const change = (host: number, sign: 1 | -1, promised: { promisedCpus: number; promisedMemoryBytes: number }): void => {
        const at = free[host];
        assert.ok(at);
        at.cpus += sign * promised.promisedCpus;
        at.bytes += sign * promised.promisedMemoryBytes;
        assert.ok(at.cpus >= 0 && at.bytes >= 0);
      };
      for (const { machine, from, to } of plan.moves) {
        const moved = problem.machines[machine];
        assert.ok(moved?.movable);
        change(to, -1, moved);
        change(from, 1, moved);
      }
      change(plan.host, -1, { promisedCpus: cpus, promisedMemoryBytes: memoryGib * gib });
    }),
    { numRuns: 400 },
  );
});
