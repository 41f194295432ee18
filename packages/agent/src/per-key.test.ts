import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { PerKey } from "./per-key.ts";

const gate = () => {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
};

test("a key never runs twice at once, and a touch while it runs means exactly one more run", async () => {
  const clock = new SimulatedClock();
  const first = gate();
  let running = 0;
  let runs = 0;
  const keys = new PerKey({
    clock,
    failed: () => assert.fail("nothing fails"),
    run: async () => {
      running += 1;
      assert.equal(running, 1);
      runs += 1;
      if (runs === 1) await first.opened;
      running -= 1;
    },
  });
  keys.touch("a");
  await clock.advance(0);
  for (let count = 0; count < 5; count += 1) keys.touch("a");
  first.open();
  await clock.advance(0);
  assert.equal(runs, 2);
  assert.equal(keys.busy, 0);
});

test("a hung key does not hold up the others", async () => {
  const clock = new SimulatedClock();
  const hung = gate();
  const done: string[] = [];
  const keys = new PerKey({
    clock,
    failed: () => {},
    run: async (key) => {
      if (key === "hung") await hung.opened;
      done.push(key);
    },
  });
  keys.touch("hung");
  for (let index = 0; index < 100; index += 1) keys.touch(`k${index}`);
  await clock.advance(0);
  assert.equal(done.length, 100);
  hung.open();
  await clock.advance(0);
  assert.equal(done.length, 101);
});

test("a failure comes again after growing pauses, and a touch cuts the pause short", async () => {
  const clock = new SimulatedClock();
  const pauses: number[] = [];
  let runs = 0;
  const keys = new PerKey({
    clock,
    firstRetryMs: 100,
    longestRetryMs: 400,
    failed: (_key, _error, pauseMs) => pauses.push(pauseMs),
    run: async () => {
      runs += 1;
      if (runs < 6) throw new Error("not yet");
    },
  });
  keys.touch("a");
  await clock.advance(100 + 200 + 400);
  assert.deepEqual(pauses, [100, 200, 400, 400]);
  keys.touch("a");
  await clock.advance(0);
  assert.equal(runs, 5);
  await clock.advance(400);
  assert.equal(runs, 6);
  assert.equal(clock.pendingTimers, 0);
});

test("a run can ask to be looked at again, and exclusive work keeps the key to itself", async () => {
  const clock = new SimulatedClock();
  const order: string[] = [];
  const work = gate();
  const keys = new PerKey({
    clock,
    failed: () => {},
    run: async () => {
      order.push("run");
      return order.length === 1 ? { againAfterMs: 1000 } : undefined;
    },
  });
  keys.touch("a");
  await clock.advance(999);
  assert.deepEqual(order, ["run"]);
  await clock.advance(1);
  assert.deepEqual(order, ["run", "run"]);
  const exclusive = keys.exclusive("a", async () => {
    order.push("begin");
    await work.opened;
    order.push("end");
    return 7;
  });
  keys.touch("a");
  await clock.advance(0);
  assert.deepEqual(order.slice(2), ["begin"]);
  work.open();
  assert.equal(await exclusive, 7);
  await clock.advance(0);
  assert.deepEqual(order.slice(2), ["begin", "end", "run"]);
});

test("after stop nothing new begins", async () => {
  const clock = new SimulatedClock();
  let runs = 0;
  const keys = new PerKey({ clock, failed: () => {}, run: async () => void (runs += 1) });
  await keys.stop();
  keys.touch("a");
  await clock.advance(10_000);
  assert.equal(runs, 0);
  await assert.rejects(
    keys.exclusive("a", async () => {}),
    /stopping/,
  );
});

test("work that asks for another key never waits for a place: no deadlock when all places are taken", async () => {
  const clock = new SimulatedClock();
  const done: string[] = [];
  const keys: PerKey = new PerKey({
    clock,
    parallel: 2,
    failed: () => {},
    run: async (key) => {
      if (key.startsWith("volume")) await keys.exclusive("vm", async () => void done.push(`${key} in vm`));
      done.push(key);
    },
  });
  for (const key of ["volume-1", "volume-2", "volume-3", "vm"]) keys.touch(key);
  await clock.advance(0);
  assert.equal(keys.busy, 0);
  assert.deepEqual(done.filter((each) => each.endsWith("in vm")).length, 3);
});
