import assert from "node:assert/strict";
import { test } from "node:test";
import type { FencingAttempt, HostFencing } from "@sheaf/model";
import fc from "fast-check";
import { afterAttempt, fenceAgainMs, isWide, planFence, type FenceInput } from "./fence.ts";
import { suspicionMs } from "./liveness.ts";

const lost: FenceInput = {
  liveness: { state: "unreachable", since: 0, reason: "" },
  fencing: undefined,
  returned: undefined,
  bootId: "boot",
  methods: ["ipmi a", "redfish a"],
  needed: true,
  wish: undefined,
  inherited: false,
  witness: undefined,
  outage: { hosts: 10, silent: 1, wideOutagePercent: 40 },
  now: 1000,
};
const ready = { state: "ready", since: 0, reason: "" } as const;

/** One host's story: what happens to it, in any order. */
const happening = fc.oneof(
  fc.record({ it: fc.constant("time" as const), ms: fc.integer({ min: 0, max: 2 * fenceAgainMs }) }),
  fc.record({ it: fc.constant("liveness" as const), ready: fc.boolean() }),
  fc.record({ it: fc.constant("knock" as const), boot: fc.constantFrom("boot", "later") }),
  fc.record({ it: fc.constant("wish" as const), verb: fc.constantFrom("fence" as const, "confirm-off" as const) }),
  fc.record({ it: fc.constant("outage" as const), silent: fc.integer({ min: 1, max: 10 }) }),
  fc.record({ it: fc.constant("witness" as const), sees: fc.boolean() }),
  fc.record({ it: fc.constant("another server" as const), afterLooks: fc.integer({ min: 0, max: 4 }) }),
  fc.record({ it: fc.constant("needed" as const), needed: fc.boolean() }),
  fc.record({ it: fc.constant("devices" as const), off: fc.array(fc.boolean(), { minLength: 2, maxLength: 2 }) }),
);

test("fenced is concluded from a device's or a person's word alone, whatever happens in whatever order", () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 60 }), fc.integer({ min: 0, max: 2 }), (story, methodCount) => {
      let input: FenceInput = { ...lost, methods: lost.methods.slice(0, methodCount) };
      let devices = [false, false];
      for (const happens of story) {
        if (happens.it === "time") input = { ...input, now: input.now + happens.ms };
        if (happens.it === "liveness") input = { ...input, liveness: happens.ready ? ready : (lost.liveness as NonNullable<FenceInput["liveness"]>) }; // set above
        if (happens.it === "knock" && input.fencing) input = { ...input, returned: { bootId: happens.boot, at: input.now } };
        if (happens.it === "wish") input = { ...input, wish: { verb: happens.verb, by: "ann" } };
        if (happens.it === "outage") input = { ...input, outage: { ...input.outage, silent: happens.silent } };
        if (happens.it === "witness") input = { ...input, witness: happens.sees ? "somebody sees it" : undefined };
        if (happens.it === "needed") input = { ...input, needed: happens.needed };
        if (happens.it === "devices") devices = happens.off;
        // The controller looks until nothing is to be done now.
        for (let looks = 0; ; looks += 1) {
          assert.ok(looks < 20, "goes round and round");
          if (happens.it === "another server" && looks === happens.afterLooks) input = { ...input, inherited: true };
          const plan = planFence(input);
          if (plan.do === "nothing") break;
          const before = input.fencing;
          if (plan.do === "release") {
            assert.ok(input.returned || input.liveness?.state === "ready", "let in although nothing was heard of it");
            input = { ...input, fencing: undefined, returned: undefined, liveness: ready };
            continue;
          }
          let after: HostFencing;
          let attempt: FencingAttempt | undefined;
          if (plan.do === "try") {
            assert.equal(before?.state, "fencing", "tried before it was persisted");
            assert.ok(!input.inherited, "gone on with what another server had begun");
            attempt = { method: input.methods[plan.method] ?? "", at: input.now, outcome: devices[plan.method] ? "off" : "failed", detail: "" };
            assert.notEqual(attempt.method, "");
            after = afterAttempt(input, attempt);
          } else after = plan.fencing;
          if (after.state === "fenced") {
            const word = after.attempts.at(-1);
            assert.equal(word?.outcome, "off");
            assert.ok(attempt?.outcome === "off" || (input.wish?.verb === "confirm-off" && /a person \(ann\)/.test(word?.method ?? "")));
            assert.notEqual(input.liveness?.state, "ready", "a host that is heard was called off");
          }
          if (after.state === "fencing" && (before?.state !== "fencing" || input.inherited)) {
            assert.ok(input.wish !== undefined || !isWide(input.outage), "begun in a wide outage");
            assert.ok(input.wish !== undefined || input.witness === undefined, "begun although it is seen to live");
          }
          assert.ok(after.attempts.length <= 8);
          // A wish is answered when it has led somewhere.
          if (after.state === "fenced" || after.state === "asking") input = { ...input, wish: undefined };
          input = { ...input, fencing: after, inherited: false };
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("methods are tried in their order, then a person is asked, then all again", () => {
  const begun = planFence(lost);
  assert.ok(begun.do === "enter" && begun.fencing.state === "fencing");
  let fencing = begun.fencing;
  for (const method of [0, 1]) {
    assert.deepEqual(planFence({ ...lost, fencing }), { do: "try", method });
    fencing = afterAttempt({ ...lost, fencing }, { method: lost.methods[method] ?? "", at: lost.now, outcome: "failed", detail: "no power" });
  }
  const asking = planFence({ ...lost, fencing });
  assert.ok(asking.do === "enter" && asking.fencing.state === "asking");
  assert.match(asking.fencing.reason, /redfish a: no power.*confirm-off/);
  assert.deepEqual(planFence({ ...lost, fencing: asking.fencing }), { do: "nothing", lookAgainMs: fenceAgainMs });
  assert.equal(planFence({ ...lost, fencing: asking.fencing, now: lost.now + fenceAgainMs, outage: { ...lost.outage, silent: 9 } }).do, "nothing");
  const again = planFence({ ...lost, fencing: asking.fencing, now: lost.now + fenceAgainMs });
  assert.ok(again.do === "enter" && again.fencing.state === "fencing");
  assert.deepEqual(planFence({ ...lost, fencing: again.fencing, now: lost.now + fenceAgainMs }), { do: "try", method: 0 });
});

test("what another server had begun is begun anew, with the first method, or not at all", () => {
  const at = lost.now - 500;
  const fencing: HostFencing = {
    ...{ state: "fencing", since: at, reason: "" },
    attempts: [{ method: "ipmi a", at, outcome: "failed", detail: "" }],
  };
  const inherited = { ...lost, fencing, inherited: true };
  const anew = planFence(inherited);
  assert.ok(anew.do === "enter" && anew.fencing.state === "fencing");
  assert.deepEqual(planFence({ ...lost, fencing: anew.fencing }), { do: "try", method: 0 });
  assert.deepEqual(planFence({ ...lost, fencing }), { do: "try", method: 1 });
  const states = [
    { ...inherited, witness: "h2 sees its pulse" },
    { ...inherited, outage: { ...lost.outage, silent: 9 } },
    { ...inherited, needed: false },
  ].map((input) => {
    const plan = planFence(input);
    return plan.do === "enter" ? plan.fencing.state : plan.do;
  });
  assert.deepEqual(states, ["held", "held", "held"]);
  assert.equal(planFence({ ...inherited, witness: "h2 sees its pulse", wish: { verb: "fence", by: "ann" } }).do, "enter");
  assert.equal(planFence({ ...inherited, liveness: ready }).do, "release");
});

test("nobody is cut off for nothing; a person may ask for it", () => {
  assert.deepEqual(planFence({ ...lost, needed: false }), { do: "nothing" });
  assert.equal(planFence({ ...lost, needed: false, wish: { verb: "fence", by: "ann" } }).do, "enter");
  assert.deepEqual(planFence({ ...lost, liveness: ready }), { do: "nothing" });
});

test("a wide outage is more than one host and more than the cluster's share", () => {
  const outage = (hosts: number, silent: number) => isWide({ hosts, silent, wideOutagePercent: 40 });
  assert.deepEqual(
    [outage(1, 1), outage(2, 1), outage(2, 2), outage(3, 2), outage(5, 2), outage(5, 3), outage(100, 40), outage(100, 41)],
    [false, false, true, true, false, true, false, true],
  );
});

test("a host that is held is not written again because others fall silent or come back", () => {
  const wide = { ...lost, outage: { ...lost.outage, hosts: 100, silent: 60 } };
  const held = planFence(wide);
  assert.ok(held.do === "enter" && held.fencing.state === "held");
  for (const silent of [61, 59]) {
    const later = planFence({ ...wide, fencing: held.fencing, outage: { ...wide.outage, silent } });
    assert.equal(later.do, "nothing");
  }
  const seen = planFence({ ...wide, fencing: held.fencing, witness: "h2 sees its pulse" });
  assert.ok(seen.do === "enter" && seen.fencing.reason.includes("h2 sees its pulse"));
});

test("uneven heartbeats delay a verdict, to twice the time at most", () => {
  assert.deepEqual([suspicionMs(10_000, 0), suspicionMs(10_000, 500), suspicionMs(10_000, 60_000)], [10_000, 12_000, 20_000]);
});
