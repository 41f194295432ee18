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
  await clock.advance(4000);
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

test("a campaign whose answer was lost is recognised as won", async () => {
  const { clock, a } = await twoServers();
  a.store.failNextTransaction("uncertain-committed");
  a.leadership.start();
  await clock.advance(30_000);
  assert.equal(a.leadership.leads, true);
  await a.leadership.stop();
});
