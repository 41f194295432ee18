/**
 * What every store must do, as test cases. Called by the test file of each backend with a factory; a backend that passes may stand
 * behind the server. Time is simulated: a factory must give leases the clock it is handed.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { StoreError, storeLimits } from "./store.ts";
import type { Entry, Operation, Store, StoreErrorCode, WatchBatch } from "./store.ts";

export interface StoreUnderTest {
  readonly store: Store;
  /** Called after the case; closes the store and removes what it left. */
  readonly dispose: () => Promise<void>;
}

export function storeConformance(name: string, open: (clock: SimulatedClock) => Promise<StoreUnderTest>): void {
  const each = (title: string, run: (store: Store, clock: SimulatedClock) => Promise<void>): void => {
    test(title, async () => {
      const clock = new SimulatedClock();
      const { store, dispose } = await open(clock);
      try {
        await run(store, clock);
      } finally {
        await dispose();
      }
    });
  };

  describe(`${name}: transactions`, () => {
    each("an empty store is at revision 0 and has an incarnation", async (store) => {
      assert.equal(await store.revision(), 0);
      assert.ok(store.incarnation.length > 0);
      assert.equal(await store.get("a"), null);
      assert.deepEqual(await store.range({ prefix: "" }), { entries: [], revision: 0, more: false });
    });

    each("puts count revisions, versions and keep the revision of creation", async (store) => {
      assert.equal((await put(store, "a", "1")).revision, 1);
      assert.equal((await put(store, "b", "1")).revision, 2);
      assert.equal((await put(store, "a", "2")).revision, 3);
      assert.deepEqual(await store.get("a"), { key: "a", value: "2", createRevision: 1, modRevision: 3, version: 2, lease: null });
      await run(store, { delete: "a" });
      assert.equal(await store.get("a"), null);
      await put(store, "a", "3");
      assert.deepEqual(await store.get("a"), { key: "a", value: "3", createRevision: 5, modRevision: 5, version: 1, lease: null });
    });

    each("all operations of a transaction share one revision", async (store) => {
      await put(store, "old", "x");
      const { revision } = await run(store, { put: "a", value: "1" }, { put: "b", value: "2" }, { delete: "old" });
      const { entries } = await store.range({ prefix: "" });
      assert.deepEqual(
        entries.map(({ key, modRevision }) => [key, modRevision]),
        [
          ["a", revision],
          ["b", revision],
        ],
      );
    });

    each("a transaction that changes nothing has no revision of its own", async (store) => {
      await put(store, "a", "1");
      assert.equal((await run(store)).revision, 1);
      assert.equal((await run(store, { delete: "nothing" }, { deletePrefix: "no/" })).revision, 1);
      assert.equal(await store.revision(), 1);
    });

    each("a put of the same value is a change", async (store) => {
      await put(store, "a", "1");
      assert.equal((await put(store, "a", "1")).revision, 2);
    });

    each("deleting a prefix takes what lies under it and nothing beside it", async (store) => {
      await run(store, ...["r/a/", "r/a/1", "r/a/2", "r/a/2/x", "r/a0", "r/a", "r/b"].map((key) => ({ put: key, value: "" })));
      await run(store, { deletePrefix: "r/a/" }, { put: "r/c", value: "" });
      assert.deepEqual(await keys(store, ""), ["r/a", "r/a0", "r/b", "r/c"]);
    });

    each("conditions on revision, creation, absence and value choose the branch", async (store) => {
      await put(store, "a", "1");
      await put(store, "a", "2");
      const cases: [Parameters<Store["transact"]>[0]["compare"], boolean][] = [
        [[], true],
        [[{ key: "a", modRevision: 2 }], true],
        [[{ key: "a", modRevision: 1 }], false],
        [[{ key: "a", createRevision: 1 }], true],
        [[{ key: "a", createRevision: 2 }], false],
        [[{ key: "a", createRevision: 0 }], false],
        [[{ key: "b", createRevision: 0 }], true],
        [[{ key: "b", modRevision: 0 }], true],
        [[{ key: "b", modRevision: 2 }], false],
        [[{ key: "a", value: "2" }], true],
        [[{ key: "a", value: "1" }], false],
        [[{ key: "b", value: "" }], false],
        [
          [
            { key: "a", value: "2" },
            { key: "b", createRevision: 0 },
          ],
          true,
        ],
        [
          [
            { key: "a", value: "2" },
            { key: "b", createRevision: 7 },
          ],
          false,
        ],
        [
          [
            { key: "a", value: "1" },
            { key: "b", createRevision: 0 },
          ],
          false,
        ],
        [
          [
            { key: "a", value: "2" },
            { key: "a", modRevision: 2 },
          ],
          true,
        ],
      ];
      for (const [compare, expected] of cases) {
        const before = await store.revision();
        const result = await store.transact({ compare, then: [{ put: "yes", value: "" }], else: [{ put: "no", value: "" }] });
        assert.equal(result.succeeded, expected, JSON.stringify(compare));
        assert.equal((await store.get(expected ? "yes" : "no"))?.modRevision, before + 1);
      }
    });

    each("a failed condition without else changes nothing and shows what the keys are", async (store) => {
      await put(store, "a", "1");
      const result = await store.transact({
        compare: [
          { key: "a", value: "2" },
          { key: "b", modRevision: 9 },
        ],
        then: [{ put: "c", value: "" }],
      });
      assert.equal(result.succeeded, false);
      assert.equal(result.revision, 1);
      assert.deepEqual(
        [...result.current],
        [
          ["a", entry("a", "1", 1)],
          ["b", null],
        ],
      );
      assert.equal(await store.get("c"), null);
      assert.equal((await put(store, "d", "")).current.size, 0);
    });

    each("of many concurrent increments by compare-and-set none is lost", async (store) => {
      await put(store, "n", "0");
      const increment = async (): Promise<void> => {
        for (;;) {
          const now = await store.get("n");
          assert.ok(now);
          const next = String(Number(now.value) + 1);
          const done = await store.transact({ compare: [{ key: "n", modRevision: now.modRevision }], then: [{ put: "n", value: next }] });
          if (done.succeeded) return;
        }
      };
      await Promise.all(Array.from({ length: 25 }, increment));
      assert.equal((await store.get("n"))?.value, "25");
      assert.equal(await store.revision(), 26);
    });

    each("concurrent transactions get revisions of their own", async (store) => {
      const results = await Promise.all(Array.from({ length: 200 }, (_, index) => put(store, `k${index}`, "x")));
      assert.equal(new Set(results.map(({ revision }) => revision)).size, 200);
      assert.equal(await store.revision(), 200);
    });

    each("texts come back as they went in", async (store) => {
      const texts = ["", " ", "'\"\\\n\t\r", "ünïcödé", "中文", "😀 and more", "\u0001", '{"a":[1,null]}', "%_*?", "\u2028", "\ufffd\uffff"];
      await run(store, ...texts.map((text, index) => ({ put: `t/${text}/${index}`, value: text })));
      for (const [index, text] of texts.entries()) assert.equal((await store.get(`t/${text}/${index}`))?.value, text);
    });
  });

  describe(`${name}: limits`, () => {
    const refused = (title: string, code: StoreErrorCode, ...operations: Operation[]): void =>
      each(`refused as ${code}: ${title}`, async (store) => {
        await put(store, "before", "x");
        await assert.rejects(store.transact({ compare: [], then: [{ put: "first", value: "" }, ...operations] }), hasCode(code));
        await assert.rejects(
          store.transact({ compare: [{ key: "before", value: "wrong" }], then: [], else: [{ put: "first", value: "" }, ...operations] }),
          hasCode(code),
        );
        assert.deepEqual(await keys(store, ""), ["before"]);
        assert.equal(await store.revision(), 1);
      });
    const numbered = (count: number): Operation[] => Array.from({ length: count }, (_, index) => ({ put: `k${index}`, value: "x" }));

    refused("101 operations", "too-many-operations", ...numbered(storeLimits.operations));
    refused("a value above 256 KiB", "too-large", { put: "a", value: "x".repeat(storeLimits.valueBytes + 1) });
    refused("a value above 256 KiB in UTF-8 only", "too-large", { put: "a", value: "é".repeat(storeLimits.valueBytes / 2 + 1) });
    refused("a key above 1 KiB", "too-large", { put: "k".repeat(storeLimits.keyBytes + 1), value: "" });
    refused("more than 1 MiB in all", "too-large", ...Array.from({ length: 5 }, (_, index) => ({ put: `k${index}`, value: "x".repeat(220_000) })));
    refused("an empty key", "invalid", { put: "", value: "" });
    refused("an empty prefix", "invalid", { deletePrefix: "" });
    refused("half a surrogate pair", "invalid", { put: "a", value: "\ud800" });
    refused("a NUL in a key", "invalid", { put: "a\0b", value: "" });
    refused("one key put twice", "duplicate-key", { put: "a", value: "1" }, { put: "a", value: "2" });
    refused("one key put and deleted", "duplicate-key", { put: "a", value: "1" }, { delete: "a" });
    refused("a key under a deleted prefix", "duplicate-key", { put: "a/1", value: "1" }, { deletePrefix: "a/" });
    refused("a prefix under a prefix", "duplicate-key", { deletePrefix: "a/b" }, { deletePrefix: "a/" });
    refused("one prefix twice", "duplicate-key", { deletePrefix: "a/" }, { deletePrefix: "a/" });
    refused("a lease that never was", "lease-expired", { put: "a", value: "", lease: "0192a3b4-0000-7000-8000-000000000000" });

    each("101 conditions are refused, negative revisions and wrong pages too", async (store) => {
      const compare = Array.from({ length: 101 }, (_, index) => ({ key: `k${index}`, modRevision: 0 }));
      await assert.rejects(store.transact({ compare, then: [] }), hasCode("too-many-operations"));
      await assert.rejects(store.transact({ compare: [{ key: "a", modRevision: -1 }], then: [] }), hasCode("invalid"));
      await assert.rejects(store.transact({ compare: [{ key: "a", createRevision: 1.5 }], then: [] }), hasCode("invalid"));
      for (const limit of [0, -1, 1001, 1.5, Number.NaN]) await assert.rejects(store.range({ prefix: "", limit }), hasCode("invalid"), String(limit));
      await assert.rejects(store.get("a", { revision: -1 }), hasCode("invalid"));
      for (const ttlMs of [0, 999, 86_400_001, 1000.5]) await assert.rejects(store.grantLease(ttlMs), hasCode("invalid"), String(ttlMs));
      for (const fromRevision of [0, -1, 0.5]) assert.throws(() => store.watch({ prefix: "", fromRevision }, recorder()), hasCode("invalid"));
    });

    each("what is just within the limits is taken", async (store) => {
      await run(store, ...numbered(storeLimits.operations));
      await put(store, "k".repeat(storeLimits.keyBytes), "x".repeat(storeLimits.valueBytes));
      assert.equal((await store.get("k".repeat(storeLimits.keyBytes)))?.value.length, storeLimits.valueBytes);
      assert.equal(await store.revision(), 2);
    });
  });

  describe(`${name}: lists`, () => {
    each("keys come in order of code points, under the prefix only", async (store) => {
      const ordered = ["a", "a/", "a/b", "a/z", "a/é", "a/\uffee", "a/😀", "a0", "b"];
      await run(store, ...ordered.toReversed().map((key) => ({ put: key, value: "" })));
      assert.deepEqual(await keys(store, ""), ordered);
      assert.deepEqual(await keys(store, "a/"), ordered.slice(1, 7));
      assert.deepEqual(await keys(store, "a/😀"), ["a/😀"]);
      assert.deepEqual(await keys(store, "c"), []);
    });

    each("pages go on after the last key, 1,000 at most, at the first page's revision", async (store) => {
      for (let start = 0; start < 1100; start += 100)
        await run(store, ...Array.from({ length: 100 }, (_, index) => ({ put: `p/${String(start + index).padStart(5, "0")}`, value: "v" })));
      const first = await store.range({ prefix: "p/" });
      assert.equal(first.entries.length, 1000);
      assert.equal(first.more, true);
      // What changes meanwhile is not seen: an update, a deletion and an addition behind the page.
      await run(store, { put: "p/01050", value: "new" }, { delete: "p/01060" }, { put: "p/01050a", value: "" }, { put: "p/99999", value: "" });
      await run(store, { delete: "p/01050" }, { put: "p/01060", value: "again" });
      const second = await store.range({ prefix: "p/", after: first.entries.at(-1)?.key ?? "", revision: first.revision, limit: 60 });
      const third = await store.range({ prefix: "p/", after: second.entries.at(-1)?.key ?? "", revision: first.revision });
      assert.deepEqual([second.entries.length, second.more, third.entries.length, third.more], [60, true, 40, false]);
      const all = [...first.entries, ...second.entries, ...third.entries];
      assert.deepEqual(
        all.map(({ key }) => key),
        Array.from({ length: 1100 }, (_, index) => `p/${String(index).padStart(5, "0")}`),
      );
      assert.ok(all.every(({ value, modRevision }) => value === "v" && modRevision <= first.revision));
      assert.deepEqual([first.revision, second.revision, third.revision], [11, 11, 11]);
    });

    each("a page of exactly the limit says that nothing follows", async (store) => {
      await run(store, { put: "a", value: "" }, { put: "b", value: "" });
      assert.equal((await store.range({ prefix: "", limit: 2 })).more, false);
      assert.equal((await store.range({ prefix: "", limit: 1 })).more, true);
      assert.deepEqual(
        (await store.range({ prefix: "", limit: 1, after: "a" })).entries.map(({ key }) => key),
        ["b"],
      );
    });

    each("big values make short pages, and nothing is left out", async (store) => {
      for (let index = 0; index < 30; index += 1) await put(store, `big/${String(index).padStart(2, "0")}`, "x".repeat(200_000));
      const seen: string[] = [];
      let page = await store.range({ prefix: "big/" });
      assert.equal(page.more, true);
      for (;;) {
        seen.push(...page.entries.map(({ key }) => key));
        if (!page.more) break;
        page = await store.range({ prefix: "big/", after: seen.at(-1) ?? "", revision: page.revision });
      }
      assert.equal(seen.length, 30);
    });

    each("every past revision can be read until it is compacted", async (store) => {
      const past: (readonly Entry[])[] = [[]];
      for (let step = 1; step <= 30; step += 1) {
        await run(store, step % 7 === 3 ? { deletePrefix: `k${step % 3}` } : { put: `k${step % 5}`, value: String(step) }, {
          put: "always",
          value: String(step),
        });
        past.push((await store.range({ prefix: "" })).entries);
      }
      for (const revision of [30, 0, 17, 16, 29, 1, 17]) {
        assert.deepEqual(await store.range({ prefix: "", revision }), { entries: past[revision], revision, more: false });
        for (const key of ["k0", "k1", "k2", "k3", "k4", "always"])
          assert.deepEqual(await store.get(key, { revision }), past[revision]?.find((item) => item.key === key) ?? null);
      }
      await assert.rejects(store.get("k1", { revision: 31 }), hasCode("future-revision"));
      await assert.rejects(store.range({ prefix: "", revision: 31 }), hasCode("future-revision"));
      await store.compact(17);
      assert.deepEqual((await store.range({ prefix: "", revision: 17 })).entries, past[17]);
      for (const attempt of [store.range({ prefix: "", revision: 16 }), store.get("k1", { revision: 16 })])
        await assert.rejects(attempt, (error) => hasCode("compacted")(error) && (error as StoreError).compactRevision === 17);
      await store.compact(5);
      await store.compact(17);
      assert.deepEqual((await store.range({ prefix: "", revision: 17 })).entries, past[17]);
      await assert.rejects(store.compact(31), hasCode("future-revision"));
      await store.compact(30);
      assert.deepEqual((await store.range({ prefix: "", revision: 30 })).entries, past[30]);
      assert.equal(await store.revision(), 30);
      assert.equal((await put(store, "k9", "")).revision, 31);
    });
  });

  describe(`${name}: watches`, () => {
    each("a transaction's events under the prefix come in one batch, in order of revisions", async (store) => {
      await put(store, "r/0", "before");
      const seen = recorder();
      const watch = store.watch({ prefix: "r/", fromRevision: 2 }, seen);
      await run(store, { put: "r/1", value: "a" }, { put: "x/1", value: "not this" }, { delete: "r/0" });
      await put(store, "x/2", "not this");
      await run(store, { put: "r/1", value: "b" });
      await run(store, { deletePrefix: "r/" });
      await until(() => seen.batches.length === 3);
      const gone = (key: string, revision: number) => ({
        type: "delete",
        entry: { key, value: "", createRevision: 0, modRevision: revision, version: 0, lease: null },
      });
      assert.deepEqual(seen.batches, [
        { revision: 2, events: [{ type: "put", entry: entry("r/1", "a", 2) }, gone("r/0", 2)] },
        { revision: 4, events: [{ type: "put", entry: { ...entry("r/1", "b", 4), createRevision: 2, version: 2 } }] },
        { revision: 5, events: [gone("r/1", 5)] },
      ]);
      assert.equal(seen.error, null);
      watch.close();
    });

    each("a watch from the past tells the past, then the present, with no gap and nothing twice", async (store) => {
      for (let step = 1; step <= 40; step += 1) await put(store, `r/${step % 4}`, String(step));
      const writing = (async () => {
        for (let step = 41; step <= 120; step += 1) await put(store, `r/${step % 4}`, String(step));
      })();
      const seen = [1, 20, 40, 41, 60].map((fromRevision) => {
        const record = recorder();
        store.watch({ prefix: "r/", fromRevision }, record);
        return { fromRevision, record };
      });
      await writing;
      for (const { fromRevision, record } of seen) {
        await until(() => record.batches.at(-1)?.revision === 120);
        const expected = Array.from({ length: 121 - fromRevision }, (_, index) => fromRevision + index);
        assert.deepEqual(
          record.batches.map(({ revision }) => revision),
          expected,
        );
        assert.deepEqual(
          record.batches.map(({ events }) => events[0]?.entry.value),
          expected.map(String),
        );
      }
    });

    each("a watch from a compacted revision ends with compacted; from the next one it works", async (store) => {
      for (let step = 1; step <= 10; step += 1) await put(store, "r/a", String(step));
      await store.compact(6);
      const tooOld = recorder();
      store.watch({ prefix: "r/", fromRevision: 5 }, tooOld);
      const good = recorder();
      store.watch({ prefix: "r/", fromRevision: 7 }, good);
      await until(() => tooOld.error !== null && good.batches.length === 4);
      assert.equal(tooOld.error?.code, "compacted");
      assert.equal(tooOld.error?.compactRevision, 6);
      assert.deepEqual(tooOld.batches, []);
      assert.deepEqual(
        good.batches.map(({ revision }) => revision),
        [7, 8, 9, 10],
      );
    });

    each("compaction does not end a watch that is up to date", async (store) => {
      const seen = recorder();
      store.watch({ prefix: "", fromRevision: 1 }, seen);
      await put(store, "a", "1");
      await until(() => seen.batches.length === 1);
      await store.compact(1);
      await put(store, "a", "2");
      await until(() => seen.batches.length === 2);
      assert.equal(seen.error, null);
    });

    each("progress tells of revisions that changed nothing under the prefix, never ahead of the events", async (store) => {
      await put(store, "x", "1");
      const seen: string[] = [];
      const watch = store.watch(
        { prefix: "r/", fromRevision: 1 },
        { events: ({ revision }) => seen.push(`events ${revision}`), progress: (revision) => seen.push(`progress ${revision}`), ended() {} },
      );
      await until(() => seen.includes("progress 1"));
      await put(store, "r/1", "");
      await put(store, "x", "2");
      await until(() => seen.includes("progress 3"));
      assert.deepEqual(seen, ["progress 1", "events 2", "progress 3"]);
      watch.close();
    });

    each("nothing comes after close", async (store) => {
      const closed = recorder();
      const open = recorder();
      const watch = store.watch({ prefix: "", fromRevision: 1 }, closed);
      store.watch({ prefix: "", fromRevision: 1 }, open);
      await put(store, "a", "1");
      await until(() => open.batches.length === 1 && closed.batches.length === 1);
      watch.close();
      await put(store, "a", "2");
      await until(() => open.batches.length === 2);
      await store.close();
      await until(() => open.error !== null);
      assert.equal(open.error?.code, "closed");
      assert.equal(closed.batches.length, 1);
      assert.equal(closed.error, null);
    });

    each("a handler that throws ends its own watch only", async (store) => {
      const other = recorder();
      let failure: StoreError | null = null;
      store.watch(
        { prefix: "", fromRevision: 1 },
        {
          events: () => {
            throw new Error("broken handler");
          },
          ended: (error) => (failure = error),
        },
      );
      store.watch({ prefix: "", fromRevision: 1 }, other);
      await put(store, "a", "1");
      await put(store, "a", "2");
      await until(() => other.batches.length === 2 && failure !== null);
      assert.ok(hasCode("watch-failed")(failure));
    });

    each("a handler may write to the store", async (store) => {
      const seen = recorder();
      store.watch({ prefix: "", fromRevision: 1 }, seen);
      store.watch({ prefix: "ask/", fromRevision: 1 }, { events: ({ revision }) => void put(store, "answer", String(revision)), ended() {} });
      await put(store, "ask/1", "");
      await until(() => seen.batches.length === 2);
      assert.equal((await store.get("answer"))?.value, "1");
    });
  });

  describe(`${name}: leases`, () => {
    each("when a lease runs out its keys go in one revision, and others stay", async (store, clock) => {
      const lease = await store.grantLease(5000);
      const other = await store.grantLease(60_000);
      await run(
        store,
        { put: "a", value: "1", lease: lease.id },
        { put: "b", value: "2", lease: lease.id },
        { put: "c", value: "3", lease: other.id },
        { put: "d", value: "4" },
      );
      assert.equal((await store.get("a"))?.lease, lease.id);
      const seen = recorder();
      store.watch({ prefix: "", fromRevision: 2 }, seen);
      await clock.advance(4999);
      assert.deepEqual(await keys(store, ""), ["a", "b", "c", "d"]);
      await clock.advance(2);
      await until(() => seen.batches.length > 0);
      assert.deepEqual(
        seen.batches.map(({ revision, events }) => [revision, events.map((event) => `${event.type} ${event.entry.key}`)]),
        [[2, ["delete a", "delete b"]]],
      );
      assert.deepEqual(await keys(store, ""), ["c", "d"]);
      await assert.rejects(store.keepAlive(lease.id), hasCode("lease-expired"));
      await assert.rejects(put(store, "e", "", lease.id), hasCode("lease-expired"));
    });

    each("keeping a lease alive gives it its whole time again", async (store, clock) => {
      const lease = await store.grantLease(5000);
      await put(store, "a", "1", lease.id);
      for (let turn = 0; turn < 5; turn += 1) {
        await clock.advance(4000);
        await store.keepAlive(lease.id);
      }
      assert.ok(await store.get("a"));
      await clock.advance(5001);
      await untilAsync(async () => (await store.get("a")) === null);
    });

    each("revoking deletes at once; twice is no error; a lease without keys costs no revision", async (store) => {
      const lease = await store.grantLease(5000);
      const unused = await store.grantLease(5000);
      await put(store, "a", "1", lease.id);
      await store.revokeLease(lease.id);
      assert.equal(await store.get("a"), null);
      assert.equal(await store.revision(), 2);
      await store.revokeLease(lease.id);
      await store.revokeLease(unused.id);
      assert.equal(await store.revision(), 2);
      await assert.rejects(store.keepAlive(lease.id), hasCode("lease-expired"));
    });

    each("a key belongs to the lease of its last put only", async (store) => {
      const first = await store.grantLease(5000);
      const second = await store.grantLease(5000);
      await run(store, { put: "a", value: "", lease: first.id }, { put: "b", value: "", lease: first.id }, { put: "c", value: "", lease: first.id });
      await run(store, { put: "a", value: "" }, { put: "b", value: "", lease: second.id }, { delete: "c" });
      await put(store, "c", "new");
      await store.revokeLease(first.id);
      assert.deepEqual(await keys(store, ""), ["a", "b", "c"]);
      await store.revokeLease(second.id);
      assert.deepEqual(await keys(store, ""), ["a", "c"]);
    });
  });

  describe(`${name}: closing`, () => {
    each("a closed store refuses everything; closing twice is no error", async (store) => {
      await put(store, "a", "1");
      await store.close();
      await store.close();
      for (const attempt of [
        () => store.get("a"),
        () => store.range({ prefix: "" }),
        () => put(store, "a", ""),
        () => store.revision(),
        () => store.grantLease(5000),
        () => store.compact(1),
      ])
        await assert.rejects(attempt, hasCode("closed"));
      assert.throws(() => store.watch({ prefix: "", fromRevision: 1 }, recorder()), hasCode("closed"));
    });
  });
}

function put(store: Store, key: string, value: string, lease?: string) {
  return run(store, lease === undefined ? { put: key, value } : { put: key, value, lease });
}

async function run(store: Store, ...operations: Operation[]) {
  const result = await store.transact({ compare: [], then: operations });
  assert.equal(result.succeeded, true);
  return result;
}

async function keys(store: Store, prefix: string): Promise<string[]> {
  return (await store.range({ prefix })).entries.map(({ key }) => key);
}

function entry(key: string, value: string, revision: number): Entry {
  return { key, value, createRevision: revision, modRevision: revision, version: 1, lease: null };
}

export function hasCode(code: StoreErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StoreError, String(error));
    assert.equal(error.code, code);
    return true;
  };
}

export interface Recorder {
  readonly batches: WatchBatch[];
  error: StoreError | null;
  events(batch: WatchBatch): void;
  ended(error: StoreError): void;
}

/** Handlers that remember what they were told, and insist on the contract's order. */
export function recorder(): Recorder {
  const record: Recorder = {
    batches: [],
    error: null,
    events(batch) {
      assert.equal(record.error, null, "events after the end");
      assert.ok(batch.revision > (record.batches.at(-1)?.revision ?? 0), "revisions grow");
      record.batches.push(batch);
    },
    ended(error) {
      assert.equal(record.error, null, "ended once only");
      record.error = error;
    },
  };
  return record;
}

/** Waits, in real time, until `condition` holds; 10 s at most. */
export async function until(condition: () => boolean): Promise<void> {
  await untilAsync(async () => condition());
}

async function untilAsync(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, "waited 10 s in vain");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
