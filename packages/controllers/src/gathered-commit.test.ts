import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom, silentLogger, SimulatedClock } from "@sheaf/base";
import { RecordCache } from "@sheaf/runtime";
import { openMemoryStore, StoreError, storeLimits, type TransactionInput } from "@sheaf/store";
import { GatheredCommit } from "./gathered-commit.ts";

/** @returns also the transactions that were asked of the store, by how many puts each has */
async function made() {
  const clock = new SimulatedClock();
  const store = await openMemoryStore({ clock, random: seededRandom(1) });
  const cache = await RecordCache.open({ store, clock, logger: silentLogger });
  const asked: number[] = [];
  const counting = {
    ...store,
    transact: (input: TransactionInput) => {
      asked.push(input.then.length);
      return store.transact(input);
    },
  };
  await store.transact({ compare: [], then: [{ put: "lead", value: "mine" }] });
  const writes = new GatheredCommit({ store: counting, cache, leadership: () => [{ key: "lead", value: "mine" }] });
  const put = (key: string, value = "x") => writes.commit({ compare: [{ key, createRevision: 0 }], then: [{ put: key, value }] });
  return { store, asked, put };
}

test("what comes in one turn, or while a commit is under way, shares a transaction", { timeout: 10_000 }, async () => {
  const { store, asked, put } = await made();
  const first = put("a");
  const later = first.then(() => Promise.all(Array.from({ length: 150 }, (_, index) => put(`k-${index}`))));
  assert.equal(await first, true);
  assert.deepEqual(new Set(await later), new Set([true]));
  assert.equal(asked[0], 1, "one alone does not wait");
  assert.equal(asked.length, 3, "a hundred and fifty need two");
  assert.equal((await store.range({ prefix: "k-" })).entries.length, 150);
});

test("who was overtaken is told so, the others are committed", { timeout: 10_000 }, async () => {
  const { store, put } = await made();
  await store.transact({ compare: [], then: [{ put: "b", value: "theirs" }] });
  assert.deepEqual(await Promise.all([put("a"), put("b"), put("c")]), [true, false, true]);
  assert.equal((await store.get("b"))?.value, "theirs");
});

test("what no transaction takes does not cost the others their place", { timeout: 10_000 }, async () => {
  const { put } = await made();
  const results = await Promise.allSettled([put("a"), put("b", "x".repeat(storeLimits.valueBytes + 1)), put("c")]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.ok(results[1]?.status === "rejected" && results[1].reason instanceof StoreError);
});

test("who leads no more commits nothing", { timeout: 10_000 }, async () => {
  const { store, put } = await made();
  await store.transact({ compare: [], then: [{ put: "lead", value: "theirs" }] });
  await assert.rejects(Promise.all([put("a"), put("c")]), /does not lead/);
  assert.equal(await store.get("a"), null);
});
