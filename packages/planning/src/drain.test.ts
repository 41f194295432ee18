import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { planDrain, type DrainMachine } from "./drain.ts";

const machines = fc.uniqueArray(
  fc.record({ id: fc.uuid(), memoryBytes: fc.integer({ min: 1, max: 64 }), moving: fc.boolean(), refusal: fc.option(fc.constant("it is paused")) }),
  { maxLength: 40, selector: (machine) => machine.id },
);

test("a drain never has more moves under way than it may, nor starts one twice or one that is refused", () => {
  fc.assert(
    fc.property(machines, fc.integer({ min: 1, max: 8 }), (all, maximumParallel) => {
      const plan = planDrain({ machines: all, choose: () => ({ host: "h2" }), maximumParallel });
      const moving = all.filter((machine) => machine.moving).length;
      assert.ok(plan.start.length === 0 || plan.start.length + moving <= maximumParallel);
      for (const move of plan.start) {
        const machine = all.find((one) => one.id === move.machineId);
        assert.ok(machine && !machine.moving && machine.refusal === null);
      }
      assert.equal(new Set(plan.start.map((move) => move.machineId)).size, plan.start.length);
    }),
  );
});

test("no slot stays free while a machine could move", () => {
  fc.assert(
    fc.property(machines, fc.integer({ min: 1, max: 8 }), (all, maximumParallel) => {
      const plan = planDrain({ machines: all, choose: () => ({ host: "h2" }), maximumParallel });
      const free = maximumParallel - all.filter((machine) => machine.moving).length;
      const able = all.filter((machine) => !machine.moving && machine.refusal === null).length;
      assert.equal(plan.start.length, Math.max(0, Math.min(free, able)));
    }),
  );
});

const one: DrainMachine = { id: "m", memoryBytes: 1, moving: false, refusal: null };

test("what fits nowhere is told with why", () => {
  const plan = planDrain({ machines: [one], choose: () => ({ why: "no host fits: 2 lack memory" }), maximumParallel: 2 });
  assert.deepEqual(plan, { start: [], stuck: [{ vm: "m", why: "no host fits: 2 lack memory" }], remaining: 1, done: false });
});

test("a machine whose move failed is told, and tried again only after a while", () => {
  const failed = { ...one, lastFailure: { why: "the target refused", waits: true } };
  assert.deepEqual(planDrain({ machines: [failed], choose: () => ({ host: "h2" }), maximumParallel: 2 }).start, []);
  const plan = planDrain({
    machines: [{ ...failed, lastFailure: { why: "the target refused", waits: false } }],
    choose: () => ({ host: "h2" }),
    maximumParallel: 2,
  });
  assert.deepEqual(plan.start, [{ machineId: "m", host: "h2" }]);
  assert.deepEqual(plan.stuck, [{ vm: "m", why: "the target refused" }]);
});

test("it is done only when nothing is left", () => {
  assert.equal(planDrain({ machines: [{ ...one, moving: true }], choose: () => ({ host: "h2" }), maximumParallel: 2 }).done, false);
  assert.equal(planDrain({ machines: [], choose: () => ({ host: "h2" }), maximumParallel: 2 }).done, true);
});
