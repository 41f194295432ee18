/** Conformance: watches, leases, closing. Called by `conformance.ts`. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { entry, hasCode, keys, put, recorder, run, until, untilAsync } from "./conformance-kit.ts";
import type { Each } from "./conformance-kit.ts";
import type { StoreError } from "../store.ts";

export function watchingCases(name: string, each: Each): void {
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
      const atIt = recorder();
      store.watch({ prefix: "r/", fromRevision: 6 }, atIt);
      const good = recorder();
      store.watch({ prefix: "r/", fromRevision: 7 }, good);
      await until(() => atIt.error !== null);
      assert.equal(atIt.error?.code, "compacted", "deletions of the compacted revision itself are forgotten");
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
    each("when a lease runs out its keys go in one revision, and others stay", async (store, pass) => {
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
      await pass(4000);
      assert.deepEqual(await keys(store, ""), ["a", "b", "c", "d"]);
      await pass(1001);
      await until(() => seen.batches.length > 0);
      assert.deepEqual(
        seen.batches.map(({ revision, events }) => [revision, events.map((event) => `${event.type} ${event.entry.key}`)]),
        [[2, ["delete a", "delete b"]]],
      );
      assert.deepEqual(await keys(store, ""), ["c", "d"]);
      await assert.rejects(store.keepAlive(lease.id), hasCode("lease-expired"));
      await assert.rejects(put(store, "e", "", lease.id), hasCode("lease-expired"));
    });

    each("keeping a lease alive gives it its whole time again", async (store, pass) => {
      const lease = await store.grantLease(5000);
      await put(store, "a", "1", lease.id);
      for (let turn = 0; turn < 2; turn += 1) {
        await pass(4000);
        await store.keepAlive(lease.id);
      }
      assert.ok(await store.get("a"));
      await pass(5001);
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
