/** A real etcd of three members that die, freeze and change leaders under load; encrypted, restored and shared. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { sleep } from "@sheaf/base";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { startEtcd } from "@sheaf/lab";
import type { EtcdMember } from "@sheaf/lab";
import { hasCode, put, recorder, until, untilAsync } from "./testing/conformance-kit.ts";
import { openPlace } from "./testing/etcd-place.ts";
import { openSqliteStore } from "./sqlite.ts";
import { StoreError } from "./store.ts";
import type { Store } from "./store.ts";

const clock = new SystemClock();
const cluster = await startEtcd({ members: 3 });
const directory = await mkdtemp(join(tmpdir(), "sheaf-etcd-test-"));
after(async () => {
  await cluster.dispose();
  await rm(directory, { recursive: true, force: true });
});

const writers = 8;

/**
 * Writers that count under keys of their own and remember what was acknowledged. Each writes on top of what it last saw: one of their own
 * writes whose answer was lost may still come late, and must not undo a newer one.
 */
function startWriters(store: Store) {
  const acknowledged = new Map<string, number>();
  const logged = new Set<string>();
  const errors = new Map<string, number>();
  let longestGapMs = 0;
  let last = clock.monotonic();
  const state = { stopped: false };
  const run = async (writer: number): Promise<void> => {
    const key = `w/${writer}`;
    /** Revision of its key; `null`: to be looked up. */
    let seen: number | null = 0;
    for (let number = 1; !state.stopped; number += 1) {
      try {
        seen ??= (await store.get(key))?.modRevision ?? 0;
        const { succeeded, revision } = await store.transact({
          compare: [seen === 0 ? { key, createRevision: 0 } : { key, modRevision: seen }],
          then: [
            { put: key, value: String(number) },
            { put: `log/${writer}/${number}`, value: "" },
          ],
        });
        seen = succeeded ? revision : null;
        if (!succeeded) continue;
        acknowledged.set(key, number);
        logged.add(`log/${writer}/${number}`);
        const now = clock.monotonic();
        longestGapMs = Math.max(longestGapMs, now - last);
        last = now;
      } catch (error) {
        seen = null;
        const code = error instanceof StoreError ? error.code : String(error);
        errors.set(code, (errors.get(code) ?? 0) + 1);
      }
    }
  };
  const running = Promise.all(Array.from({ length: writers }, (_, writer) => run(writer)));
  return {
    acknowledged,
    logged,
    errors,
    gap(): number {
      const gap = Math.max(longestGapMs, clock.monotonic() - last);
      longestGapMs = 0;
      return gap;
    },
    async stop(): Promise<void> {
      state.stopped = true;
      await running;
    },
  };
}

const injure: readonly {
  readonly what: string;
  readonly hurt: (member: EtcdMember) => Promise<void>;
  readonly heal: (member: EtcdMember) => void;
}[] = [
  { what: "killed", hurt: (member) => member.kill(), heal: (member) => member.start() },
  { what: "frozen", hurt: async (member) => member.freeze(), heal: (member) => member.thaw() },
];

const rounds = Number(process.env["SHEAF_ETCD_KILLS"] ?? 4);

test(
  `members and leaders are killed and frozen ${rounds} times under load: nothing acknowledged is lost, events come once, backups are of one moment`,
  {
    timeout: 60_000 + rounds * 30_000,
  },
  async (t) => {
    const { store, dispose } = await openPlace(cluster);
    try {
      const seen = recorder();
      store.watch({ prefix: "log/", fromRevision: 1 }, seen);
      const load = startWriters(store);
      const backups: string[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const { what, hurt, heal } = injure[round % injure.length] ?? assert.fail();
        const leader = await cluster.leader();
        const member = round % 3 === 2 ? (cluster.members.find((each) => each !== leader) ?? leader) : leader;
        load.gap();
        const before = load.acknowledged.get("w/0") ?? 0;
        await hurt(member);
        await untilAsync(async () => (load.acknowledged.get("w/0") ?? 0) > before + 20);
        await sleep(clock, 1500);
        const gapMs = Math.round(load.gap());
        const backup = join(directory, `round-${round}.backup`);
        await store.backup(backup);
        backups.push(backup);
        heal(member);
        await cluster.leader();
        t.diagnostic(`${member === leader ? "leader" : "follower"} ${what}: no write was acknowledged for ${gapMs} ms`);
      }
      await load.stop();
      for (const [key, number] of load.acknowledged) {
        const found = Number((await store.get(key))?.value);
        assert.ok(found >= number, `${key}: acknowledged ${number}, found ${found}`);
      }
      await untilAsync(async () => seen.batches.at(-1)?.revision === (await store.revision()));
      const told = seen.batches.flatMap(({ events }) => events.map(({ entry }) => entry.key));
      assert.equal(new Set(told).size, told.length, "an event came twice");
      const there = await keysUnder(store, "log/");
      assert.deepEqual(
        [...load.logged].filter((key) => !there.has(key)),
        [],
        "acknowledged, and lost",
      );
      assert.deepEqual(new Set(told), there);
      t.diagnostic(`${load.logged.size} writes, errors: ${JSON.stringify([...load.errors])}`);
      for (const backup of backups) await assertOneMoment(backup);
    } finally {
      await dispose();
    }
  },
);

/** A writer's number and its entry of the log are written together: a backup that has one without the other mixes two moments. */
async function assertOneMoment(path: string): Promise<void> {
  const copy = await openSqliteStore({ path, clock, random: systemRandom });
  try {
    const log = await keysUnder(copy, "log/");
    for (let writer = 0; writer < writers; writer += 1) {
      const newest = Math.max(...[...log].filter((key) => key.startsWith(`log/${writer}/`)).map((key) => Number(key.split("/")[2])));
      assert.equal((await copy.get(`w/${writer}`))?.value, String(newest), `writer ${writer} in ${path}`);
    }
  } finally {
    await copy.close();
  }
}

async function keysUnder(store: Store, prefix: string): Promise<Set<string>> {
  const found = new Set<string>();
  let page = await store.range({ prefix });
  for (;;) {
    for (const { key } of page.entries) found.add(key);
    const after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) return found;
    page = await store.range({ prefix, after, revision: page.revision });
  }
}

describe("one place, many users", () => {
  test("writes of others in the same etcd do not hold up who waits for a revision", { timeout: 30_000 }, async () => {
    const { store, dispose } = await openPlace(cluster);
    try {
      const progress: number[] = [];
      store.watch({ prefix: "r/", fromRevision: 1 }, { events() {}, progress: (revision) => progress.push(revision), ended() {} });
      await cluster.control("put", "other/key", "x");
      const revision = await store.revision();
      assert.ok(revision > 0);
      await until(() => (progress.at(-1) ?? 0) >= revision);
      assert.deepEqual(await keysUnder(store, ""), new Set(), "the mark is no key of the store");
    } finally {
      await cluster.control("del", "other/key");
      await dispose();
    }
  });

  test("two processes see each other's writes, and one incarnation", { timeout: 30_000 }, async () => {
    const { store, again, dispose } = await openPlace(cluster);
    const other = await again();
    try {
      assert.equal(other.incarnation, store.incarnation);
      const seen = recorder();
      other.watch({ prefix: "", fromRevision: 1 }, seen);
      await put(store, "a", "1");
      await until(() => seen.batches.length === 1);
      assert.equal((await other.get("a"))?.value, "1");
      assert.deepEqual((await other.get("a"))?.modRevision, (await store.get("a"))?.modRevision);
    } finally {
      await other.close();
      await dispose();
    }
  });

  test("a server that was not told of a restore writes nothing more, and says so", { timeout: 30_000 }, async () => {
    const failures: StoreError[] = [];
    const { store, prefix, again, dispose } = await openPlace(cluster, { failed: (error) => failures.push(error) });
    // Ends by its watch no more than a process that is paused would: the transaction itself must be refused.
    const unaware = await again({ purpose: "move" });
    try {
      await put(store, "a", "1");
      const seen = recorder();
      store.watch({ prefix: "", fromRevision: 1 }, seen);
      await until(() => seen.batches.length === 1);
      await cluster.control("del", "--prefix", prefix);
      await assert.rejects(put(unaware, "b", "2"), hasCode("corrupt"));
      await until(() => seen.error !== null);
      assert.equal(seen.error?.code, "corrupt");
      await assert.rejects(put(store, "c", "3"), hasCode("corrupt"));
      assert.equal(failures.filter(({ code }) => code === "corrupt").length, 2, "both say it, once each");
      assert.equal((await cluster.control("get", "--prefix", prefix)).trim(), "");
    } finally {
      await unaware.close();
      await dispose();
    }
  });

  test("history is compacted by number by itself, and a process that was away lists again", { timeout: 30_000 }, async () => {
    const { store, dispose } = await openPlace(cluster);
    try {
      for (let step = 1; step <= 20; step += 1) await put(store, "a", String(step));
      await store.compact(15);
      const late = recorder();
      store.watch({ prefix: "", fromRevision: 10 }, late);
      await until(() => late.error !== null);
      assert.equal(late.error?.code, "compacted");
      assert.equal(late.error?.compactRevision, 15);
    } finally {
      await dispose();
    }
  });
});

test("with certificates: TLS is needed, and one that etcd does not know is refused", { timeout: 60_000 }, async () => {
  const secure = await startEtcd({ tls: true });
  const { tls } = secure;
  assert.ok(tls);
  const read = async () => ({ authority: await readFile(tls.authority), certificate: await readFile(tls.certificate), key: await readFile(tls.key) });
  try {
    const { store, dispose } = await openPlace(secure, { tls: read });
    await put(store, "a", "1");
    assert.equal((await store.get("a"))?.value, "1");
    for (const wrong of [{}, { tls: async () => ({ authority: (await read()).authority }) }])
      await assert.rejects(openPlace(secure, { ...wrong, answerTimeoutMs: 1500 }), hasCode("unavailable"));
    await dispose();
  } finally {
    await secure.dispose();
  }
});

test("without a majority writes are refused or uncertain, never acknowledged; afterwards it goes on by itself", { timeout: 60_000 }, async () => {
  const { store, dispose } = await openPlace(cluster, { answerTimeoutMs: 2000 });
  const [first, second] = cluster.members;
  assert.ok(first && second);
  try {
    await put(store, "a", "1");
    const lease = await store.grantLease(30_000);
    await put(store, "held", "x", lease.id);
    await Promise.all([first.kill(), second.kill()]);
    await assert.rejects(put(store, "a", "2"), (error) => error instanceof StoreError && ["uncertain", "unavailable"].includes(error.code));
    await assert.rejects(store.get("a"), hasCode("unavailable"));
    await assert.rejects(store.keepAlive(lease.id), hasCode("unavailable"));
    first.start();
    second.start();
    await untilAsync(() =>
      store.keepAlive(lease.id).then(
        () => true,
        () => false,
      ),
    );
    assert.equal((await store.get("held"))?.lease, lease.id);
    assert.ok(["1", "2"].includes((await store.get("a"))?.value ?? ""));
    await put(store, "a", "3");
  } finally {
    first.start();
    second.start();
    await cluster.ready();
    await dispose();
  }
});
