/** What concerns the file: restarts, locks, damage, space, backup, schema. */
import assert from "node:assert/strict";
import { mkdtemp, open, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, test } from "node:test";
import { seededRandom, SimulatedClock } from "@sheaf/base";
import { hasCode, recorder, until } from "./testing/conformance-kit.ts";
import { migrate, migrations } from "./sqlite-schema.ts";
import type { Migration } from "./sqlite-schema.ts";
import { restoreSqliteStore } from "./sqlite-restore.ts";
import { openSqliteStore } from "./sqlite.ts";
import type { SqliteStoreOptions } from "./sqlite.ts";
import type { Store } from "./store.ts";

const directory = await mkdtemp(join(tmpdir(), "sheaf-store-"));
after(() => rm(directory, { recursive: true }));
let files = 0;
const newPath = (): string => join(directory, `store-${(files += 1)}.db`);

const openAt = (path: string, options: Partial<SqliteStoreOptions> = {}) =>
  openSqliteStore({ path, clock: new SimulatedClock(), random: seededRandom(files), ...options });
const put = (store: Store, key: string, value: string) => store.transact({ compare: [], then: [{ put: key, value }] });

test("a closed store opens where it was: entries, revisions, history, incarnation, leases", async () => {
  const path = newPath();
  const first = await openAt(path);
  const lease = await first.grantLease(5000);
  await put(first, "a", "1");
  await first.transact({ compare: [], then: [{ put: "b", value: "2", lease: lease.id }] });
  await put(first, "a", "3");
  await first.compact(1);
  await first.close();
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.startsWith(`${path.split("/").at(-1)}-`)),
    [],
  );

  const clock = new SimulatedClock();
  const second = await openAt(path, { clock });
  assert.equal(second.incarnation, first.incarnation);
  assert.equal(await second.revision(), 3);
  assert.equal((await second.get("a", { revision: 2 }))?.value, "1");
  await assert.rejects(second.get("a", { revision: 0 }), hasCode("compacted"));
  const seen = recorder();
  second.watch({ prefix: "", fromRevision: 2 }, seen);
  await until(() => seen.batches.length === 2);
  await clock.advance(4000);
  await second.keepAlive(lease.id);
  await clock.advance(4000);
  assert.ok(await second.get("b"));
  await clock.advance(1001);
  await until(() => seen.batches.length === 3);
  assert.equal(await second.get("b"), null);
  await second.close();
  const third = await openAt(path);
  await assert.rejects(third.transact({ compare: [], then: [{ put: "c", value: "", lease: lease.id }] }), hasCode("lease-expired"));
  await third.close();
});

test("an empty history is no empty store: revisions go on after everything was compacted", async () => {
  const path = newPath();
  const first = await openAt(path);
  for (let step = 0; step < 5; step += 1) await put(first, "a", String(step));
  await first.compact(5);
  await first.close();
  const second = await openAt(path);
  assert.equal(await second.revision(), 5);
  assert.equal((await put(second, "a", "x")).revision, 6);
  await second.close();
});

test("one process, one opener: a second one is told so, and the first goes on", async () => {
  const path = newPath();
  const first = await openAt(path);
  await assert.rejects(openAt(path), hasCode("locked"));
  await put(first, "a", "1");
  await first.close();
  await (await openAt(path)).close();
});

test("nobody else may read the file", async () => {
  const path = newPath();
  const store = await openAt(path);
  await put(store, "a", "1");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await stat(`${path}-wal`)).mode & 0o777, 0o600);
  await store.close();
});

test("a damaged file is refused with what to do; a file of another program too", async () => {
  const path = newPath();
  const store = await openAt(path);
  for (let step = 0; step < 200; step += 1) await put(store, `k${step}`, "x".repeat(2000));
  await store.close();
  const file = await open(path, "r+");
  for (let page = 3; page < 40; page += 1) await file.write(Buffer.alloc(600, 0x5a), 0, 600, page * 4096 + 100);
  await file.close();
  await assert.rejects(openAt(path), (error) => hasCode("corrupt")(error) && /restore a backup/.test(String(error)));

  const text = newPath();
  await writeFile(text, "this is no database, but long enough to be looked at as one ".repeat(100));
  await assert.rejects(openAt(text), hasCode("corrupt"));

  const foreign = newPath();
  const database = new DatabaseSync(foreign);
  database.exec("CREATE TABLE theirs (x)");
  database.close();
  await assert.rejects(openAt(foreign), (error) => hasCode("corrupt")(error) && /not one of Sheaf's/.test(String(error)));

  const short = newPath();
  const whole = await openAt(short);
  for (let step = 0; step < 50; step += 1) await put(whole, `k${step}`, "x".repeat(2000));
  await whole.close();
  await truncate(short, 8192);
  await assert.rejects(openAt(short), hasCode("corrupt"));
});

test("a directory that cannot be is said to be unavailable", async () => {
  const blocked = newPath();
  await writeFile(blocked, "");
  await assert.rejects(openAt(join(blocked, "below", "store.db")), hasCode("unavailable"));
});

test("a full store refuses writes, loses nothing, goes on reading, and works again with space", async () => {
  const path = newPath();
  const store = await openAt(path, { maxBytes: 1024 * 1024 });
  let written = 0;
  const writeUntilFull = async (): Promise<void> => {
    for (;;) {
      await put(store, `k${String(written).padStart(5, "0")}`, "x".repeat(3000));
      written += 1;
    }
  };
  await assert.rejects(writeUntilFull(), hasCode("full"));
  assert.ok(written > 50);
  await assert.rejects(put(store, "one-more", "x".repeat(100_000)), hasCode("full"));
  const revision = await store.revision();
  assert.equal(revision, written);
  assert.equal((await store.range({ prefix: "k" })).entries.length, written);
  assert.equal((await store.get("k00000", { revision: 1 }))?.value.length, 3000);
  // Forgetting history makes room.
  await store.compact(revision);
  await put(store, "again", "x".repeat(3000));
  await store.close();

  const roomy = await openAt(path);
  assert.equal((await roomy.range({ prefix: "k" })).entries.length, written);
  await put(roomy, "more", "x".repeat(100_000));
  await roomy.close();
});

test("on a full store concurrent transactions all hear the same, and none is half done", async () => {
  const store = await openAt(newPath(), { maxBytes: 512 * 1024 });
  const results = await Promise.allSettled(
    Array.from({ length: 60 }, (_, index) =>
      store.transact({ compare: [], then: Array.from({ length: 5 }, (_unused, part) => ({ put: `t/${index}/${part}`, value: "x".repeat(2000) })) }),
    ),
  );
  const acknowledged = results.flatMap((result, index) => (result.status === "fulfilled" ? [index] : []));
  for (const result of results) if (result.status === "rejected") hasCode("full")(result.reason);
  assert.ok(acknowledged.length < 60);
  for (let index = 0; index < 60; index += 1) {
    const { entries } = await store.range({ prefix: `t/${index}/` });
    assert.equal(entries.length, acknowledged.includes(index) ? 5 : 0);
  }
  await store.close();
});

test("history is bounded by revisions, by bytes and by age", async () => {
  const clock = new SimulatedClock();
  const byCount = await openAt(newPath(), { historyRevisions: 40 });
  const byBytes = await openAt(newPath(), { historyBytes: 100_000 });
  const byAge = await openAt(newPath(), { clock, historyAgeMs: 60_000 });
  for (let step = 0; step < 200; step += 1) {
    await put(byCount, "a", String(step));
    await put(byBytes, "a", "x".repeat(2000));
    await put(byAge, "a", String(step));
    await clock.advance(1000);
  }
  const kept = async (store: typeof byCount) => (await store.statistics()).historyRevisions;
  assert.ok((await kept(byCount)) <= 50 && (await kept(byCount)) >= 40, `${await kept(byCount)} by count`);
  assert.ok((await kept(byBytes)) <= 26 && (await kept(byBytes)) >= 15, `${await kept(byBytes)} by bytes`);
  assert.ok((await kept(byAge)) <= 70 && (await kept(byAge)) >= 55, `${await kept(byAge)} by age`);
  assert.ok((await byBytes.statistics()).historyBytes <= 100_000);
  await Promise.all([byCount.close(), byBytes.close(), byAge.close()]);
});

test("transactions asked for together share commits", async () => {
  const store = await openAt(newPath());
  await Promise.all(Array.from({ length: 300 }, (_, index) => put(store, `k${index}`, "")));
  const { transactions, batches } = await store.statistics();
  assert.equal(transactions, 300);
  assert.ok(batches <= 5, `${batches} commits`);
  await store.close();
});

test("a disk that hangs makes transactions uncertain, and those behind them unavailable; later the store goes on", async (t) => {
  const clock = new SimulatedClock();
  const store = await openAt(newPath(), { clock, answerTimeoutMs: 5000 });
  t.after(() => store.close());
  // Real work keeps the thread from answering before virtual time has passed, which takes no real time at all.
  const big = Array.from({ length: 40 }, (_, index) => ({ put: `big/${index}`, value: "x".repeat(20_000) }));
  const underWay = Array.from({ length: 60 }, () => assert.rejects(store.transact({ compare: [], then: big }), hasCode("uncertain")));
  await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(5000);
  await Promise.all(underWay);
  await assert.rejects(put(store, "meanwhile", ""), hasCode("unavailable"));
  // Asked again until it answers, as callers do.
  const deadline = performance.now() + 20_000;
  for (let answered = false; !answered;) {
    answered = await put(store, "later", "").then(
      () => true,
      (error) => !hasCode("unavailable")(error) || performance.now() > deadline,
    );
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(await store.get("later"));
  // Uncertain meant: look. Here it is there; what was refused is not.
  assert.equal((await store.get("big/0"))?.version, 60);
  assert.equal(await store.get("meanwhile"), null);
});

test("a backup taken amid writes is one consistent moment, and restores as a new incarnation", async () => {
  const path = newPath();
  const store = await openAt(path);
  for (let step = 0; step < 300; step += 1) await put(store, `filler/${step}`, "x".repeat(5000));
  const writers = new AbortController();
  const writing = (async () => {
    let number = 0;
    for (; !writers.signal.aborted; number += 1) {
      const value = String(number);
      await store.transact({
        compare: [],
        then: [
          { put: "left", value },
          { put: "right", value },
        ],
      });
    }
    return number;
  })();
  const backup = join(directory, "one.backup");
  const done = await store.backup(backup);
  writers.abort();
  const wrote = await writing;
  assert.ok(wrote > 0);
  assert.equal((await stat(backup)).size, done.bytes);
  await assert.rejects(store.backup(backup), hasCode("invalid"));
  await store.close();

  await assert.rejects(restoreSqliteStore({ backup, path, clock: new SimulatedClock(), random: seededRandom(90) }), hasCode("invalid"));
  const restored = newPath();
  const { incarnation } = await restoreSqliteStore({ backup, path: restored, clock: new SimulatedClock(), random: seededRandom(91) });
  assert.notEqual(incarnation, store.incarnation);
  const again = await openAt(restored);
  assert.equal(again.incarnation, incarnation);
  const { entries } = await again.range({ prefix: "filler/" });
  assert.equal(entries.length, 300);
  const [left, right] = [await again.get("left"), await again.get("right")];
  assert.equal(left?.value, right?.value);
  assert.equal(left?.modRevision, right?.modRevision);
  assert.ok((await again.revision()) <= done.revision);
  await put(again, "new", "life");
  await again.close();
});

test("a broken backup restores nothing and leaves nothing", async () => {
  const backup = join(directory, "broken.backup");
  await writeFile(backup, "no database");
  const path = newPath();
  await assert.rejects(
    restoreSqliteStore({ backup, path, clock: new SimulatedClock(), random: seededRandom(92) }),
    (error) => hasCode("corrupt")(error) && String(error).includes(backup),
  );
  await assert.rejects(
    restoreSqliteStore({ backup: `${backup}.none`, path, clock: new SimulatedClock(), random: seededRandom(92) }),
    hasCode("invalid"),
  );
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.startsWith(path.split("/").at(-1) ?? "")),
    [],
  );
});

test("migrations bring an old file forward, once, and a newer file is refused", async () => {
  const path = newPath();
  const store = await openAt(path);
  await put(store, "a", "1");
  await store.close();
  const database = new DatabaseSync(path);
  let ran = 0;
  const next: Migration = (connection) => {
    ran += 1;
    connection.exec("CREATE TABLE later (x TEXT) STRICT");
  };
  for (let start = 0; start < 2; start += 1) migrate(database, path, [...migrations, next], { incarnation: "unused" });
  assert.equal(ran, 1);
  assert.equal(database.prepare("SELECT value FROM entries WHERE key = 'a'").get()?.["value"], "1");
  database.close();
  await assert.rejects(openAt(path), hasCode("newer-schema"));
});
