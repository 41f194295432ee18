import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom, SimulatedClock } from "@sheaf/base";
import { hasCode, recorder, until } from "./testing/conformance-kit.ts";
import { storeConformance } from "./testing/conformance.ts";
import { makeFaulty } from "./faulty.ts";
import type { Faults } from "./faulty.ts";
import { openMemoryStore } from "./memory.ts";
import type { StoreErrorCode } from "./store.ts";
import { StoreError } from "./store.ts";

// Without faults the wrapper must not be noticed.
storeConformance("faulty, without faults", async (clock) => {
  const store = makeFaulty(await openMemoryStore({ clock, random: seededRandom(1) }), { clock, random: seededRandom(2) });
  return { store, dispose: () => store.close() };
});

const openFaulty = async (faults: Partial<Faults>, seed = 5) => {
  const clock = new SimulatedClock();
  const inner = await openMemoryStore({ clock, random: seededRandom(1) });
  return { clock, inner, store: makeFaulty(inner, { clock, random: seededRandom(seed), faults }) };
};

test("uncertain is either: committed or lost", async () => {
  const { store, inner } = await openFaulty({});
  store.failNextTransaction("uncertain-committed");
  store.failNextTransaction("uncertain-lost");
  store.failNextTransaction("unavailable");
  await assert.rejects(store.transact({ compare: [], then: [{ put: "a", value: "1" }] }), hasCode("uncertain"));
  await assert.rejects(store.transact({ compare: [], then: [{ put: "b", value: "1" }] }), hasCode("uncertain"));
  await assert.rejects(store.transact({ compare: [], then: [{ put: "c", value: "1" }] }), hasCode("unavailable"));
  assert.deepEqual(
    (await inner.range({ prefix: "" })).entries.map(({ key }) => key),
    ["a"],
  );
});

test("faults come at their chances and replay from the seed", async () => {
  const outcomes = async (seed: number) => {
    const { store, inner } = await openFaulty({ uncertainCommitted: 0.2, uncertainLost: 0.2, unavailable: 0.2 }, seed);
    const seen: (StoreErrorCode | "done")[] = [];
    for (let step = 0; step < 500; step += 1)
      await store.transact({ compare: [], then: [{ put: `k${step}`, value: "" }] }).then(
        () => seen.push("done"),
        (error) => seen.push(error instanceof StoreError ? error.code : "corrupt"),
      );
    return { seen, committed: (await inner.range({ prefix: "" })).entries.length };
  };
  const first = await outcomes(9);
  assert.deepEqual(await outcomes(9), first);
  const count = (code: string) => first.seen.filter((item) => item === code).length;
  assert.ok(count("uncertain") > 100 && count("uncertain") < 230, `${count("uncertain")} uncertain`);
  assert.ok(count("unavailable") > 60 && count("unavailable") < 150, `${count("unavailable")} unavailable`);
  assert.ok(first.committed > count("done") && first.committed < count("done") + count("uncertain"));
});

test("delays keep the order of events and pass in virtual time only", async () => {
  const { store, clock } = await openFaulty({ maxDelayMs: 50 });
  const seen = recorder();
  store.watch({ prefix: "", fromRevision: 1 }, seen);
  const writing = Promise.all(Array.from({ length: 20 }, (_, index) => store.transact({ compare: [], then: [{ put: `k${index}`, value: "" }] })));
  await clock.advance(100);
  await writing;
  assert.ok(seen.batches.length < 20);
  await clock.advance(1000);
  assert.equal(seen.batches.length, 20);
});

test("watches end by chance, on demand and by compaction", async () => {
  const { store } = await openFaulty({ watchEnds: 1 });
  const byChance = recorder();
  store.watch({ prefix: "", fromRevision: 1 }, byChance);
  await store.transact({ compare: [], then: [{ put: "a", value: "" }] });
  await store.transact({ compare: [], then: [{ put: "b", value: "" }] });
  await until(() => byChance.error !== null);
  assert.equal(byChance.batches.length, 1);
  store.setFaults({});
  const onDemand = recorder();
  store.watch({ prefix: "", fromRevision: 1 }, onDemand);
  store.endWatches();
  assert.equal(onDemand.error?.code, "unavailable");
  const behind = recorder();
  await store.compactNow();
  store.watch({ prefix: "", fromRevision: 1 }, behind);
  await until(() => behind.error !== null);
  assert.equal(behind.error?.code, "compacted");
});
