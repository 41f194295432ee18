/** Conformance: lists and reads of the past. Called by `conformance.ts`. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { hasCode, keys, put, run } from "./conformance-kit.ts";
import type { Each } from "./conformance-kit.ts";
import type { Entry, StoreError } from "../store.ts";

export function readingCases(name: string, each: Each): void {
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
      for (const attempt of [() => store.range({ prefix: "", revision: 16 }), () => store.get("k1", { revision: 16 })])
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
}
