import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom, SimulatedClock, silentLogger } from "@sheaf/base";
import { makeFaulty, openMemoryStore } from "@sheaf/store";
import { Leadership } from "./leader.ts";

async function twoServers() {
  const clock = new SimulatedClock();
  const shared = await openMemoryStore({ clock, random: seededRandom(1) });
  const candidate = (identity: string) => {
    const store = makeFaulty(shared, { clock, random: seededRandom(2) });
    const story: string[] = [];
    const leadership = new Leadership({
      store,
      clock,
      logger: silentLogger,
      name: "controllers",
      identity,
      leaseMs: 9000,
      began: () => story.push("began"),
      ended: () => story.push("ended"),
    });
    return { store, story, leadership };
  };
  return { clock, shared, a: candidate("a"), b: candidate("b") };
}

test("one of two leads; when it stops the other takes over", async () => {
  const { clock, a, b } = await twoServers();
  a.leadership.start();
  await clock.advance(1);
  b.leadership.start();
  await clock.advance(60_000);
  assert.deepEqual([a.leadership.leads, b.leadership.leads], [true, false]);
  assert.deepEqual(a.story, ["began"]);
  await a.leadership.stop();
  // Seen in the watch, not at the next turn of its own.
  await clock.advance(50);
  assert.deepEqual([a.leadership.leads, b.leadership.leads], [false, true]);
  assert.deepEqual(a.story, ["began", "ended"]);
  await b.leadership.stop();
});

test("a leader cut off from the store is overtaken, and what it still writes is refused", async () => {
  const { clock, shared, a, b } = await twoServers();
  a.leadership.start();
  await clock.advance(1);
  b.leadership.start();
  const old = a.leadership.conditions();
  a.store.setFaults({ unavailable: 1 });
  await clock.advance(30_000);
  assert.deepEqual([a.leadership.leads, b.leadership.leads], [false, true]);
  const late = await shared.transact({ compare: old, then: [{ put: "x", value: "late" }] });
  assert.equal(late.succeeded, false);
  const now = await shared.transact({ compare: b.leadership.conditions(), then: [{ put: "x", value: "now" }] });
  assert.equal(now.succeeded, true);
  await Promise.all([a.leadership.stop(), b.leadership.stop()]);
});

test("a store that is away for a moment costs no lead; one away for the lease's time does, even if it never answers", async () => {
  const { clock, a } = await twoServers();
  a.leadership.start();
  await clock.advance(1);
  a.store.setFaults({ unavailable: 1 });
  await clock.advance(5000);
  a.store.setFaults({});
  await clock.advance(20_000);
  assert.deepEqual(a.story, ["began"]);
  // Every call hangs now.
  a.store.keepAlive = () => new Promise(() => {});
  await clock.advance(5000);
  assert.equal(a.leadership.leads, true);
  await clock.advance(4001);
  assert.equal(a.leadership.leads, false);
  assert.deepEqual(a.story, ["began", "ended"]);
  assert.throws(() => a.leadership.conditions());
});

test("a lead that was given up while the store was silent is back with the store's first answer", async () => {
  const { clock, shared, a } = await twoServers();
  a.leadership.start();
  await clock.advance(1);
  const silence = Promise.withResolvers<void>();
  const asked = new Set<string>();
  a.store.keepAlive = (lease) => {
    asked.add(lease);
    return silence.promise.then(() => shared.keepAlive(lease));
  };
  for (let second = 0; second < 11; second += 1) {
    await clock.advance(1000);
    // As etcd's next leader does when it has been elected: leases begin anew.
    for (const lease of asked) await shared.keepAlive(lease);
  }
  assert.deepEqual(a.story, ["began", "ended"]);
  silence.resolve();
  await clock.advance(10);
  assert.deepEqual(a.story, ["began", "ended", "began"]);
  await a.leadership.stop();
});

test("a server that was killed and started again leads at once, and its earlier life can write nothing", async () => {
  const { clock, shared, a, b } = await twoServers();
  a.leadership.start();
  await clock.advance(1);
  const before = a.leadership.conditions();
  a.store.setFaults({ unavailable: 1 });
  b.leadership.start();
  const story: string[] = [];
  const again = new Leadership({
    store: shared,
    clock,
    logger: silentLogger,
    name: "controllers",
    identity: "a",
    leaseMs: 9000,
    began: () => story.push("began"),
    ended: () => story.push("ended"),
  });
  again.start();
  await clock.advance(1);
  assert.deepEqual([again.leads, b.leadership.leads], [true, false]);
  assert.equal((await shared.transact({ compare: before, then: [{ put: "x", value: "" }] })).succeeded, false);
  assert.equal((await shared.transact({ compare: again.conditions(), then: [{ put: "x", value: "" }] })).succeeded, true);
  await clock.advance(60_000);
  assert.deepEqual(story, ["began"]);
  a.store.setFaults({});
  await clock.advance(30_000);
  // The earlier life, frozen and back, does not take the lead from its successor.
  assert.equal(again.leads, true);
  await Promise.all([a.leadership.stop(), b.leadership.stop(), again.stop()]);
});

test("a campaign whose answer was lost is recognised as won", async () => {
  const { clock, a } = await twoServers();
  a.store.failNextTransaction("uncertain-committed");
  a.leadership.start();
  await clock.advance(3001);
  assert.equal(a.leadership.leads, true);
  await a.leadership.stop();
});
