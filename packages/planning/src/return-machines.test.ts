import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { planReturn, type ReturningMachine } from "./return-machines.ts";

test("whatever is asked: never more than allowed at once, nobody twice, nobody who was moved since, nobody who does not fit", () => {
  const machine = fc.record({
    leftEpoch: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    placement: fc.option(fc.record({ host: fc.constantFrom("home", "a", "b"), epoch: fc.integer({ min: 1, max: 3 }) }), { nil: undefined }),
    moving: fc.boolean(),
    refusal: fc.option(fc.constant("paused"), { nil: null }),
    failure: fc.option(fc.record({ why: fc.constant("failed"), again: fc.constantFrom("now", "later", "never") }), { nil: undefined }),
    fits: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(machine, { maxLength: 12 }), fc.integer({ min: 1, max: 4 }), (list, maximumParallel) => {
      const machines = list.map((one, index) => ({ ...one, id: `vm-${index}` }) as ReturningMachine & { fits: boolean });
      const of = (id: string) => machines.find((one) => one.id === id);
      const plan = planReturn({ host: "home", machines, choose: (id) => (of(id)?.fits ? { host: "home" } : { why: "full" }), maximumParallel });
      const moving = machines.filter((one) => one.moving);
      assert.ok(plan.start.length === 0 || plan.start.length + moving.length <= maximumParallel);
      const named = [...plan.left, ...plan.stay.map(({ vm }) => vm)];
      assert.equal(new Set(named).size, named.length);
      for (const id of plan.start) {
        const one = of(id);
        assert.ok(one && !one.moving && one.fits && one.refusal === null && (one.failure?.again ?? "now") === "now");
        assert.ok(one.placement && one.placement.host !== "home" && one.placement.epoch === one.leftEpoch);
      }
      // Nobody is lost silently: each is back, on its way, told to stay, or gone.
      const gone = machines.filter((one) => !one.moving && !one.placement).length;
      assert.equal(plan.back + named.length + gone, machines.length);
      assert.equal(plan.done, plan.left.length === 0);
      if (!plan.done && moving.length === 0 && !machines.some((one) => one.failure?.again === "later"))
        assert.ok(plan.start.length > 0, "something goes on");
    }),
  );
});
