import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type ConsolidationHost,
  type ConsolidationInput,
  type ConsolidationMachine,
  type ConsolidationPlan,
  consolidationDefaults,
} from "./consolidation-input.ts";
import { gib, host, machine } from "./consolidation.test-support.ts";
import { forecast } from "./forecast.ts";
import { HostLoad } from "./host-load.ts";
import { planConsolidation } from "./plan-consolidation.ts";

const options = { ...consolidationDefaults, windowSamples: 6, moveJoules: 1000 };

const hostArbitrary = fc.record({
  // Few values: hosts that are alike are where order could matter.
  cpuMillicores: fc.constantFrom(3000, 6000, 12_000),
  memoryGib: fc.integer({ min: 2, max: 16 }),
  fullWatts: fc.constantFrom(150, 250),
  state: fc.constantFrom("awake" as const, "awake" as const, "asleep" as const),
  usable: fc.constantFrom(true, true, true, false),
});
const machineArbitrary = fc.record({
  on: fc.nat(),
  memoryGib: fc.integer({ min: 1, max: 4 }),
  demand: fc.array(fc.constantFrom(0, 100, 500, 1000, 2000, 4000), { maxLength: 9 }),
  constant: fc.boolean(),
  movable: fc.constantFrom(true, true, true, true, false),
});
const cluster = fc
  .record({
    hosts: fc.array(hostArbitrary, { minLength: 1, maxLength: 7 }),
    machines: fc.array(machineArbitrary, { maxLength: 25 }),
    maximumMoves: fc.constantFrom(1, 3, Infinity, Infinity),
    spareHosts: fc.integer({ min: 0, max: 2 }),
    forbidden: fc.array(fc.tuple(fc.nat(24), fc.nat(6)), { maxLength: 5 }),
  })
  .map(({ hosts, machines, maximumMoves, spareHosts, forbidden }): ConsolidationInput => {
    const named = hosts.map(({ fullWatts, memoryGib, ...of }, n) =>
      host(`h${n}`, { ...of, powerCurve: [100, fullWatts], memoryBytes: memoryGib * gib }),
    );
    const awake = named.filter(({ state }) => state === "awake");
    const never = new Set(forbidden.map(([m, h]) => `m${m} h${h}`));
    return {
      hosts: named,
      machines: machines.flatMap(({ on, memoryGib, demand, constant, movable }, n) => {
        const home = awake[on % Math.max(1, awake.length)];
        const samples = constant ? demand.map(() => demand[0] ?? 0) : demand;
        return home ? [machine(`m${n}`, home.id, samples, { memoryBytes: memoryGib * gib, movable })] : [];
      }),
      allowed: (machineId, hostId) => !never.has(`${machineId} ${hostId}`),
      options: { ...options, maximumMoves, spareHosts },
    };
  });

/** The cluster after the plan. */
function after(
  { hosts, machines }: ConsolidationInput,
  { wake, moves, sleep }: ConsolidationPlan,
): { hosts: ConsolidationHost[]; machines: ConsolidationMachine[] } {
  const target = new Map(moves.map(({ machine: id, to }) => [id, to]));
  const woken = new Set(wake.map(({ host: id }) => id));
  const slept = new Set(sleep.map(({ host: id }) => id));
  return {
    hosts: hosts.map((each) => ({ ...each, state: slept.has(each.id) ? "asleep" : woken.has(each.id) ? "awake" : each.state })),
    machines: machines.map((each) => ({ ...each, host: target.get(each.id) ?? each.host })),
  };
}

test("after each move every host that took a machine has its stated head-room, and nothing that stands against a move is passed over", () => {
  fc.assert(
    fc.property(cluster, (input) => {
      const { wake, moves } = planConsolidation(input);
      const loads = new Map(input.hosts.map((each) => [each.id, new HostLoad(each, options.windowSamples)]));
      const planned = new Map(input.machines.map((each) => [each.id, { machine: each, forecast: forecast(each, options) }]));
      for (const each of planned.values()) loads.get(each.machine.host)?.add(each);
      const woken = new Set(wake.map(({ host: id }) => id));
      const moved = new Set<string>();
      for (const { machine: id, from, to } of moves) {
        const each = planned.get(id);
        const target = loads.get(to);
        assert.ok(each && target && each.machine.movable && target.host.usable && input.allowed?.(id, to));
        assert.ok(target.host.state === "awake" || woken.has(to));
        assert.ok(each.machine.host === from && from !== to && !moved.has(id));
        moved.add(id);
        loads.get(from)?.remove(each);
        target.add(each);
        for (const load of moves.slice(0, moved.size).map((move) => loads.get(move.to))) {
          assert.ok(load && load.need(options.headRoomSigmas) <= load.host.cpuMillicores * (1 + 1e-9), `${load?.host.id} after ${moved.size} moves`);
          assert.ok(load.now <= load.host.cpuMillicores * options.targetShare * (1 + 1e-9) && load.memoryBytes <= load.host.memoryBytes);
        }
      }
      assert.ok(moved.size <= (input.options?.maximumMoves ?? Infinity));
    }),
    { numRuns: 300 },
  );
});

test("only hosts without machines sleep, and as many as are wanted stay awake", () => {
  fc.assert(
    fc.property(cluster, (input) => {
      const plan = planConsolidation(input);
      const { hosts, machines } = after(input, plan);
      const occupied = new Set(machines.map(({ host: id }) => id));
      assert.ok(plan.sleep.every(({ host: id }) => !occupied.has(id)));
      const empty = hosts.filter(({ id, state, usable }) => usable && state === "awake" && !occupied.has(id)).length;
      const possible = hosts.filter(({ id, usable }) => usable && !occupied.has(id)).length;
      assert.equal(empty, Math.min(possible, input.options?.spareHosts ?? 0));
    }),
    { numRuns: 200 },
  );
});

test("the same cluster gets the same plan, in whatever order its hosts and machines come", () => {
  fc.assert(
    fc.property(cluster, fc.infiniteStream(fc.nat()), (input, keys) => {
      const shuffled = <T>(list: readonly T[]): T[] =>
        list
          .map((each) => ({ each, key: keys.next().value ?? 0 }))
          .toSorted((a, b) => a.key - b.key)
          .map(({ each }) => each);
      assert.deepEqual(planConsolidation({ ...input, hosts: shuffled(input.hosts), machines: shuffled(input.machines) }), planConsolidation(input));
    }),
    { numRuns: 100 },
  );
});

test("where demand stays as it is, moves come to an end", () => {
  fc.assert(
    fc.property(cluster, (input) => {
      let now = input;
      for (let round = 0; round < input.hosts.length + 2; round += 1) now = { ...now, ...after(now, planConsolidation(now)) };
      const { moves, wake, sleep } = planConsolidation(now);
      assert.deepEqual({ moves, wake, sleep }, { moves: [], wake: [], sleep: [] });
    }),
    { numRuns: 150 },
  );
});
