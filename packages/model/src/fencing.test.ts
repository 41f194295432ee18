import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fencingMethodName, FencingMethod, selfFencedAfterMs } from "./fencing.ts";
import { HostSpec } from "./host.ts";

/**
 * One grant in true time: the host sends, a server hears it later, the lease ends on the host's clock, and the watchdog resets on its own, petted
 * until the last moment. Whatever the delays, and clocks up to an eighth slower than the server's, the server waits longer.
 */
test("the server's wait is over only after the lease's end and the watchdog's reset", () => {
  fc.assert(
    fc.property(
      fc.record({
        termMs: fc.integer({ min: 15_000, max: 600_000 }),
        watchdogMs: fc.integer({ min: 10_000, max: 120_000 }),
        sentAt: fc.double({ min: 0, max: 1e6, noNaN: true }),
        delayMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
        hostRate: fc.double({ min: 8 / 9, max: 1.2, noNaN: true }),
        watchdogRate: fc.double({ min: 8 / 9, max: 1.2, noNaN: true }),
      }),
      ({ termMs, watchdogMs, sentAt, delayMs, hostRate, watchdogRate }) => {
        const endsAt = sentAt + termMs / hostRate;
        const resetsAt = endsAt + watchdogMs / watchdogRate;
        const heardAt = sentAt + delayMs;
        const concludedAt = heardAt + selfFencedAfterMs({ termMs, watchdogMs });
        // What another server heard meanwhile is known here within five seconds.
        assert.ok(concludedAt - 4999 > resetsAt, `${concludedAt} and ${resetsAt}`);
      },
    ),
  );
});

test("a host may fence itself by one method, with terms in closed ranges", () => {
  assert.deepEqual(FencingMethod.parse({ type: "watchdog" }), { type: "watchdog", leaseMs: 60_000, watchdogTimeoutMs: 30_000 });
  for (const bad of [{ leaseMs: 14_999 }, { leaseMs: 600_001 }, { watchdogTimeoutMs: 9000 }, { watchdogTimeoutMs: 10_500 }, { timeoutMs: 5000 }])
    assert.equal(FencingMethod.safeParse({ type: "watchdog", ...bad }).success, false, JSON.stringify(bad));
  assert.equal(fencingMethodName(FencingMethod.parse({ type: "watchdog" })), "watchdog");
  assert.equal(HostSpec.safeParse({ fencing: [{ type: "watchdog" }, { type: "watchdog" }] }).success, false);
  assert.deepEqual(HostSpec.parse({}).fencing, []);
});
