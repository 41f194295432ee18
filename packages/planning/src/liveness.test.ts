import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { planLiveness, type LivenessInput } from "./liveness.ts";

const base: LivenessInput = {
  previous: undefined,
  reported: true,
  connected: true,
  lastHeardAt: 100_000,
  nowMonotonic: 100_000,
  listeningSince: 0,
  graceMs: 15_000,
  now: 5,
};
const ready = { state: "ready", since: 1, reason: "" } as const;

test("a host that is heard is ready, one that has not said what it has is joining", () => {
  assert.equal(planLiveness(base).write?.state, "ready");
  assert.equal(planLiveness({ ...base, reported: false }).write?.state, "joining");
});

test("a short silence changes nothing, and says when to look again", () => {
  const plan = planLiveness({ ...base, previous: ready, connected: false, nowMonotonic: 110_000 });
  assert.deepEqual(plan, { lookAgainMs: 5000 });
});

test("after the grace it is unreachable since now", () => {
  const plan = planLiveness({ ...base, previous: ready, connected: false, nowMonotonic: 115_000 });
  assert.equal(plan.write?.state, "unreachable");
  assert.equal(plan.write?.since, 5);
  assert.match(plan.write?.reason ?? "", /15 s/);
});

test("a host that was put to sleep is asleep when it is silent, and ready as soon as it is heard", () => {
  const silent = { ...base, previous: ready, connected: false, nowMonotonic: 115_000, atRest: true };
  assert.equal(planLiveness(silent).write?.state, "asleep");
  const asleep = { ...ready, state: "asleep" } as const;
  assert.deepEqual(planLiveness({ ...silent, previous: asleep }), {});
  assert.equal(planLiveness({ ...base, previous: asleep, atRest: true }).write?.state, "ready");
  assert.equal(planLiveness({ ...silent, previous: asleep, atRest: false }).write?.state, "unreachable");
});

test("a connection on which nothing comes is no sign of life", () => {
  assert.equal(planLiveness({ ...base, previous: ready, connected: true, nowMonotonic: 130_000 }).write?.state, "unreachable");
});

test("a host that is silent in its connection is looked at again: it may go on in it, and nothing tells of that", () => {
  const plan = planLiveness({ ...base, previous: { ...ready, state: "unreachable" }, nowMonotonic: 130_000 });
  assert.equal(plan.write, undefined);
  assert.ok(plan.lookAgainMs !== undefined && plan.lookAgainMs <= 1000);
  assert.equal(planLiveness({ ...base, previous: ready, connected: false, nowMonotonic: 130_000 }).lookAgainMs, undefined);
});

test("after a start of the server every host has the whole grace, whatever stood before", () => {
  const input = { ...base, previous: ready, connected: false, lastHeardAt: null, listeningSince: 100_000 };
  assert.deepEqual(planLiveness({ ...input, nowMonotonic: 114_999 }), { lookAgainMs: 1 });
  assert.equal(planLiveness({ ...input, nowMonotonic: 115_000 }).write?.state, "unreachable");
});

test("what stands already is never written again", () => {
  fc.assert(
    fc.property(
      fc.record({
        reported: fc.boolean(),
        connected: fc.boolean(),
        lastHeardAt: fc.option(fc.nat(100_000)),
        nowMonotonic: fc.integer({ min: 100_000, max: 200_000 }),
        listeningSince: fc.nat(100_000),
      }),
      (facts) => {
        const first = planLiveness({ ...base, ...facts });
        if (first.write) assert.equal(planLiveness({ ...base, ...facts, previous: first.write }).write, undefined);
      },
    ),
  );
});
