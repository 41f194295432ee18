/** Hosts that sleep by themselves while everything goes wrong: the promises hold, and no host is put to sleep while anything runs there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "./run.ts";

const minuteMs = 60_000;

// In the third, whose hosts are too full to sleep, a host is asked to while no server leads.
for (const [seed, sleeps] of [
  [2, true],
  [12, true],
  [8, false],
] as const)
  test(`hosts fall asleep and wake under heavy faults, seed ${seed}`, { timeout: 240_000 }, async () => {
    const power = { mode: "automatic", spareHosts: 0, minimumAwakeMinutes: 0, minimumAsleepMinutes: 0, wakeMinutes: 2 };
    const { broken, lines } = await run({ seed, hosts: 5, durationMs: 30 * minuteMs, faults: "heavy", power });
    assert.equal(broken, null);
    if (sleeps)
      assert.ok(
        lines.some(({ text }) => /^host h\d is asleep: /.test(text)),
        "some slept",
      );
  });
