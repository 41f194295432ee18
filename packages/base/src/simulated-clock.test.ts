import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "./clock.ts";
import { SimulatedClock } from "./simulated-clock.ts";

test("timers fire in order of their time, then in the order they were set, and none early", async () => {
  const clock = new SimulatedClock();
  const fired: string[] = [];
  const delays = [50, 10, 30, 10, 0, 40, 20, 30];
  for (const [index, delay] of delays.entries()) clock.setTimer(delay, () => fired.push(`${clock.monotonic()}:${index}`));
  await clock.advance(30);
  assert.deepEqual(fired, ["0:4", "10:1", "10:3", "20:6", "30:2", "30:7"]);
  assert.equal(clock.pendingTimers, 2);
  await clock.advance(100);
  assert.deepEqual(fired.slice(6), ["40:5", "50:0"]);
  assert.equal(clock.monotonic(), 130);
});

test("a cancelled timer does not fire, even when cancelled by one of the same instant", async () => {
  const clock = new SimulatedClock();
  let fired = false;
  const later = { cancel() {} };
  clock.setTimer(5, () => later.cancel());
  const timer = clock.setTimer(5, () => (fired = true));
  later.cancel = () => timer.cancel();
  await clock.advance(10);
  assert.equal(fired, false);
  assert.equal(clock.pendingTimers, 0);
});

test("of many timers that are cancelled the rest fire in their order, at their times", async () => {
  const clock = new SimulatedClock();
  const fired: number[] = [];
  const timers = Array.from({ length: 5000 }, (_, index) => clock.setTimer(5000 - index, () => fired.push(5000 - index)));
  for (const [index, timer] of timers.entries()) if (index % 100 !== 0) timer.cancel();
  assert.equal(clock.pendingTimers, 50);
  await clock.advance(5000);
  assert.deepEqual(
    fired,
    Array.from({ length: 50 }, (_, index) => (index + 1) * 100),
  );
});

test("what a timer starts goes on within the same advance", async () => {
  const clock = new SimulatedClock(1000);
  const seen: number[] = [];
  const loop = (async () => {
    for (let turn = 0; turn < 5; turn += 1) {
      await sleep(clock, 10);
      seen.push(clock.now());
    }
  })();
  await clock.advance(50);
  await loop;
  assert.deepEqual(seen, [1010, 1020, 1030, 1040, 1050]);
});

test("advancing until a condition stops at its instant, or says that it never came", async () => {
  const clock = new SimulatedClock();
  let done = false;
  void sleep(clock, 70).then(() => (done = true));
  await clock.advanceUntil(() => done, 1000);
  assert.equal(clock.monotonic(), 70);
  await assert.rejects(
    clock.advanceUntil(() => false, 1000),
    /did not come true within 1000 ms/,
  );
});

test("the wall clock can jump without time passing", async () => {
  const clock = new SimulatedClock(5000);
  clock.shiftWallClock(-3000);
  assert.equal(clock.now(), 2000);
  assert.equal(clock.monotonic(), 0);
});
