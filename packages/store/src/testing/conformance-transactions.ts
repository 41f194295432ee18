/** Conformance: what transactions do and what is refused. Called by `conformance.ts`. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { entry, hasCode, keys, put, recorder, run } from "./conformance-kit.ts";
import type { Each } from "./conformance-kit.ts";
import { storeLimits } from "../store.ts";
import type { Operation, Store, StoreErrorCode } from "../store.ts";

export function transactionCases(name: string, each: Each): void {
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
}
