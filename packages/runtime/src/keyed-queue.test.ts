import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { seededRandom, SimulatedClock } from "@sheaf/base";
import { KeyedQueue } from "./keyed-queue.ts";

test("a key never runs twice at once, never more keys than allowed, and what is asked for runs afterwards", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({ key: fc.constantFrom("a", "b", "c", "d"), pauseMs: fc.nat(30), takesMs: fc.integer({ min: 1, max: 40 }), fails: fc.boolean() }),
        { maxLength: 40 },
      ),
      fc.integer({ min: 1, max: 3 }),
      async (asks, concurrency) => {
        const clock = new SimulatedClock();
        const atWork = new Set<string>();
        const lastStart = new Map<string, number>();
        const lastAsk = new Map<string, number>();
        let order = 0;
        let at = 0;
        const queue = new KeyedQueue({
          clock,
          random: seededRandom(3),
          concurrency,
          firstPauseMs: 5,
          maximumPauseMs: 50,
          work: async (key) => {
            assert.ok(!atWork.has(key));
            atWork.add(key);
            assert.ok(atWork.size <= concurrency);
            lastStart.set(key, order++);
            const ask = asks[at % Math.max(1, asks.length)];
            at += 1;
            await new Promise<void>((resolve) => clock.setTimer(ask?.takesMs ?? 1, resolve));
            atWork.delete(key);
            if (ask?.fails && clock.now() % 3 === 0) throw new Error("no");
            return undefined;
          },
        });
        for (const { key, pauseMs } of asks) {
          lastAsk.set(key, order++);
          queue.add(key);
          await clock.advance(pauseMs);
        }
        await clock.advance(20_000);
        for (const [key, asked] of lastAsk) assert.ok((lastStart.get(key) ?? -1) > asked, `${key} ran after it was last asked for`);
        assert.equal(queue.size, 0);
      },
    ),
    { numRuns: 200 },
  );
});

test("failures are tried again after pauses that grow to a bound", async () => {
  const clock = new SimulatedClock();
  const pauses: number[] = [];
  let tries = 0;
  const queue = new KeyedQueue({
    clock,
    random: seededRandom(1),
    concurrency: 1,
    firstPauseMs: 100,
    maximumPauseMs: 1000,
    work: async () => {
      tries += 1;
      if (tries <= 6) throw new Error("not yet");
      return undefined;
    },
    failed: (_key, _error, _failures, pauseMs) => pauses.push(pauseMs),
  });
  queue.add("k");
  await clock.advance(10_000);
  assert.equal(tries, 7);
  for (const [index, pause] of pauses.entries()) {
    const whole = Math.min(1000, 100 * 2 ** index);
    assert.ok(pause >= whole / 2 && pause <= whole + 1, `${pause} for ${whole}`);
  }
});

test("a key that wants to be looked at later is, sooner where somebody asks, and not after the stop", async () => {
  const clock = new SimulatedClock();
  const runs: number[] = [];
  const queue = new KeyedQueue({ clock, random: seededRandom(1), concurrency: 1, work: async () => (runs.push(clock.monotonic()), 1000) });
  queue.add("k");
  await clock.advance(1500);
  queue.add("k");
  queue.add("k", 5000);
  await clock.advance(0);
  assert.deepEqual(runs, [0, 1000, 1500]);
  await queue.stop();
  await clock.advance(10_000);
  assert.equal(runs.length, 3);
});
