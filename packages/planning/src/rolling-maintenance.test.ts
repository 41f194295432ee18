import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { planRolling, type HostSight, type RollingHost } from "./rolling-maintenance.ts";

const waiting = (id: string): RollingHost => ({ id, name: id, phase: "waiting", since: 0 });
const sights = fc.record({
  open: fc.boolean(),
  inMaintenance: fc.boolean(),
  ready: fc.boolean(),
  bootId: fc.constantFrom("1", "2"),
  drained: fc.boolean(),
  remaining: fc.nat(3),
  stuck: fc.constantFrom(undefined, "paused"),
  awaitsReturn: fc.boolean(),
});
const look = fc.record({
  sight: fc.option(sights, { nil: undefined }),
  against: fc.boolean(),
  saidDone: fc.boolean(),
  paused: fc.boolean(),
  pauseMs: fc.nat(700_000),
});

test("whatever is seen and said: one host at a time, in order, none begun against a warning or while paused, each act once, and nothing after an end", () => {
  fc.assert(
    fc.property(fc.array(look, { maxLength: 60 }), (looks) => {
      let hosts: readonly RollingHost[] = ["a", "b", "c"].map(waiting);
      let now = 1_000_000;
      const acts: string[] = [];
      for (const { sight, against, saidDone, paused, pauseMs } of looks) {
        now += pauseMs;
        const before = hosts;
        const plan = planRolling({
          hosts,
          look: () => sight as HostSight | undefined,
          against: () => (against ? ["full"] : []),
          saidDone: () => saidDone,
          paused,
          cancelled: false,
          now,
        });
        ({ hosts } = plan);
        assert.ok(hosts.filter(({ phase }) => ["emptying", "emptied", "returning"].includes(phase)).length <= 1);
        const through = hosts.map(({ phase }) => phase === "done" || phase === "gone");
        assert.deepEqual(
          through,
          through.toSorted((a, b) => Number(b) - Number(a)),
        );
        if (plan.act) {
          acts.push(`${plan.act.do} ${plan.act.host}`);
          const phase = before.find(({ id }) => id === plan.act?.host)?.phase;
          if (plan.act.do === "maintain") assert.ok(phase === "waiting" && !against && !paused);
          else assert.ok(phase === "emptied");
        }
        if (plan.state !== "running") {
          assert.equal(plan.act, undefined);
          break;
        }
      }
      assert.equal(new Set(acts).size, acts.length);
    }),
    { numRuns: 500 },
  );
});
