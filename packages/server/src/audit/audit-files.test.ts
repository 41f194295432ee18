/** Sealed files of the audit trail: what is moved reads as before, and a kill at any step, a restored backup or a changed file is no loss or is found. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@sheaf/base";
import { auditFilesPrefix, auditKey, type AuditEvent } from "@sheaf/model";
import { openMemoryStore, openSqliteStore, restoreSqliteStore, type Store } from "@sheaf/store";
import { createSecrets } from "../authority/secrets.ts";
import type { AuditContext } from "../context.ts";
import { entries } from "../testing/api-fixture.ts";
import { MemoryFiles } from "../testing/memory-files.ts";
import { TestClock } from "../testing/test-clock.ts";
import { AuditKeeper } from "./audit-keeper.ts";
import { exportAudit, listAudit, type AuditQuery } from "./audit-reader.ts";
import type { AuditFiles } from "./audit-source.ts";

const timeout = 60_000;
const random = { bytes: (length: number) => new Uint8Array(randomBytes(length)) };
const hour = 3_600_000;
const newStore = (clock: TestClock): Promise<Store> => openMemoryStore({ clock, random });

/** A server as far as its audit trail goes. */
class Site {
  readonly context: AuditContext;
  readonly keeper: AuditKeeper;

  constructor(store: Store, clock: TestClock, files: AuditFiles = new MemoryFiles(), serverName = "local") {
    this.context = {
      store,
      clock,
      random,
      serverName,
      logger: silentLogger,
      secrets: createSecrets(new Uint8Array(32).fill(7), random),
      audit: { files, directory: "/audit", limits: { entries: 40, bytes: 2 ** 20, ageMs: hour } },
    };
    this.keeper = new AuditKeeper(this.context);
  }

  async write(count: number, actor = "anna"): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      await this.keeper.trail.record({
        actor,
        from: "10.0.0.1",
        action: "vm.create",
        target: `vm/${index % 5}`,
        result: "done",
        after: '{"a":"ü\\n"}',
      });
      if (index % 7 === 6) await this.keeper.trail.seal();
    }
    await this.keeper.trail.seal();
  }

  move(): Promise<void> {
    return this.keeper.archive.pass(this.keeper.trail.chain);
  }

  async list(query: Partial<AuditQuery> = {}): Promise<AuditEvent[]> {
    const found: AuditEvent[] = [];
    let cursor: string | undefined;
    do {
      const page = await listAudit({ store: this.context.store, folder: this.context.audit }, this.keeper.trail, { limit: 7, cursor, ...query });
      found.push(...page.items);
      cursor = page.next;
    } while (cursor !== undefined);
    return found;
  }

  async lines(): Promise<string[]> {
    const lines: string[] = [];
    for await (const line of exportAudit({ store: this.context.store, folder: this.context.audit })) lines.push(line);
    return lines;
  }

  async stored(): Promise<number> {
    return (await entries(this.context.store, "a/")).filter(({ key }) => key.includes("/e/")).length;
  }
}

/** Without its rounds: tests say when something is moved. */
async function started(...parts: ConstructorParameters<typeof Site>): Promise<Site> {
  const site = new Site(...parts);
  await site.keeper.archive.start();
  await site.keeper.trail.start();
  return site;
}

test("what is moved into files is read, filtered, paged and exported as before", { timeout }, async () => {
  const clock = new TestClock();
  const files = new MemoryFiles();
  const site = await started(await newStore(clock), clock, files);
  await site.write(100);
  const middle = clock.now() + 1;
  clock.advance(1000);
  await site.write(50, "bert");
  const queries: Partial<AuditQuery>[] = [{}, { actor: "bert" }, { target: "vm/3" }, { from: middle }, { to: middle }, { limit: 1000 }];
  const before = await Promise.all(queries.map((query) => site.list(query)));
  const exported = await site.lines();
  assert.equal(await site.stored(), 151);
  await site.move();
  assert.ok((await site.stored()) < 50, "the full files' entries have left the store");
  assert.equal(files.contents.size, 3);
  assert.deepEqual(await Promise.all(queries.map((query) => site.list(query))), before);
  assert.deepEqual(await site.lines(), exported);
  clock.advance(2 * hour);
  await site.keeper.trail.seal();
  await site.move();
  assert.deepEqual([await site.stored(), files.contents.size], [0, 4], "what is old goes too");
  assert.deepEqual(await Promise.all(queries.map((query) => site.list(query))), before);
  const verified = await site.keeper.verify();
  assert.deepEqual([verified.problems, verified.notes, verified.events, verified.files], [[], [], 151, 4]);
  // Each file begins with the hash that the one before ends with.
  let previous = "";
  for (const bytes of [...files.contents.keys()].sort().map((path) => files.contents.get(path))) {
    const lines = Buffer.from(bytes ?? [])
      .toString()
      .trimEnd()
      .split("\n");
    assert.equal(JSON.parse(lines[0] ?? "").previous, previous);
    previous = JSON.parse(lines.at(-1) ?? "").end.hash;
  }
  await site.keeper.stop();
});

test("a chain that has ended leaves nothing in the store but what is known of its files", { timeout }, async () => {
  const clock = new TestClock();
  const files = new MemoryFiles();
  const store = await newStore(clock);
  const first = await started(store, clock, files);
  await first.write(10);
  await first.keeper.stop();
  const second = new Site(store, clock, files);
  await second.keeper.start();
  for (const deadline = performance.now() + 10_000; files.contents.size === 0;) {
    assert.ok(performance.now() < deadline, "a round comes by itself");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await second.move();
  assert.equal((await entries(store, `a/${first.keeper.trail.chain}/`)).length, 0);
  assert.equal((await second.list()).length, 12);
  assert.deepEqual((await second.keeper.verify()).problems, []);
  await second.keeper.stop();
});

/** Lets so many changes of store and files happen; the next one is lost, or made but not told, and then nothing goes any more. */
class Killed {
  left: number;
  readonly #told: boolean;
  constructor(left: number, told: boolean) {
    this.left = left;
    this.#told = told;
  }

  async #step<T>(run: () => Promise<T>): Promise<T> {
    if (this.left < 0) throw new Error("killed");
    this.left -= 1;
    if (this.left >= 0) return run();
    if (this.#told) await run();
    throw new Error("killed");
  }

  store(store: Store): Store {
    return new Proxy(store, {
      get: (target, name) => {
        if (name === "transact") return (input: Parameters<Store["transact"]>[0]) => this.#step(() => target.transact(input));
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  files(files: AuditFiles): AuditFiles {
    return {
      list: (directory) => files.list(directory),
      read: (path) => files.read(path),
      makeDirectory: (path) => files.makeDirectory(path),
      writeAtomic: (...write) => this.#step(() => files.writeAtomic(...write)),
    };
  }
}

const names = (events: readonly AuditEvent[]): string[] => events.map(({ sequence, action, at }) => `${sequence} ${action} ${at}`);

for (const told of [false, true])
  test(`killed at every step of moving, ${told ? "just after" : "just before"} it is done: nothing is lost or twice`, { timeout }, async () => {
    for (let steps = 0; ; steps += 1) {
      assert.ok(steps < 200);
      const clock = new TestClock();
      const files = new MemoryFiles();
      const store = await newStore(clock);
      const first = await started(store, clock, files);
      await first.write(100);
      await first.keeper.stop();
      const expected = names(await first.list());
      // A second server dies while it moves the first one's chain and its own.
      const kill = new Killed(Infinity, told);
      const second = await started(kill.store(store), clock, kill.files(files));
      kill.left = steps;
      const died = await second.move().then(
        () => false,
        () => true,
      );
      const reader = new Site(store, clock, files);
      assert.deepEqual(names(await reader.list()).slice(-expected.length), expected, `as the kill left it, step ${steps}`);
      const third = await started(store, clock, files);
      await third.move();
      assert.deepEqual(names(await third.list()).slice(-expected.length), expected, `after the restart, step ${steps}`);
      assert.equal((await third.list()).length, expected.length + 2);
      const verified = await third.keeper.verify();
      assert.deepEqual([verified.problems, verified.notes], [[], []], `step ${steps}`);
      assert.equal((await entries(store, `a/${first.keeper.trail.chain}/`)).length, 0);
      await third.keeper.stop();
      if (!died) {
        assert.ok(steps > 8, "there were steps to die at");
        return;
      }
    }
  });

test("a file that was changed, cut off, removed, swapped or added, and a record that is gone: each is found", { timeout }, async () => {
  const clock = new TestClock();
  const files = new MemoryFiles();
  const store = await newStore(clock);
  const site = await started(store, clock, files);
  await site.write(130);
  await site.move();
  const [first = "", second = "", third = ""] = [...files.contents.keys()].sort();
  const content = (path: string): Uint8Array => files.contents.get(path) ?? new Uint8Array();
  const kept = new Map(files.contents);
  const broken = async (what: string, tamper: () => unknown, message: RegExp): Promise<void> => {
    await tamper();
    const verified = await site.keeper.verify();
    assert.equal(verified.intact, false, what);
    assert.match(verified.problems.join("\n"), message, what);
    files.contents.clear();
    for (const [path, bytes] of kept) files.contents.set(path, bytes);
    assert.equal((await site.keeper.verify()).intact, true, `${what}: healed`);
  };
  for (const path of [first, second, third]) {
    for (const at of [5, 900, content(path).length - 3])
      await broken(
        `byte ${at} of ${path}`,
        () =>
          files.contents.set(
            path,
            content(path).map((byte, index) => (index === at ? byte ^ 1 : byte)),
          ),
        /changed|begins otherwise|cut off/,
      );
    await broken("cut off", () => files.contents.set(path, content(path).subarray(0, 3000)), /was cut off/);
    await broken("something added", () => files.contents.set(path, Buffer.concat([content(path), Buffer.from("\n")])), /was c/);
    await broken("removed", () => files.contents.delete(path), /is missing/);
  }
  await broken(
    "swapped",
    () => {
      files.contents.set(first, content(second));
      files.contents.set(second, kept.get(first) ?? new Uint8Array());
    },
    /begins otherwise/,
  );
  // One who can change file and record alike still has no key for the seals.
  const record = (await entries(store, auditFilesPrefix))[0];
  assert.ok(record);
  const { digestOfFile } = await import("./audit-file.ts");
  const forged = Buffer.from(Buffer.from(content(first)).toString().replace('"vm/3"', '"vm/4"'));
  await broken(
    "file and record",
    async () => {
      files.contents.set(first, forged);
      await store.transact({
        compare: [],
        then: [{ put: record.key, value: JSON.stringify({ ...JSON.parse(record.value), digest: digestOfFile(forged) }) }],
      });
    },
    /does not fit/,
  ).catch(async (error: unknown) => {
    // The record is healed here, then the trail must be whole again.
    await store.transact({ compare: [], then: [{ put: record.key, value: record.value }] });
    if (!/healed/.test(String(error))) throw error;
  });
  assert.equal((await site.keeper.verify()).intact, true);
  // A reader is told of the gap.
  files.contents.delete(second);
  assert.ok((await site.list()).some(({ action, target }) => action === "audit.unreadable" && second.endsWith(target.slice("audit/".length))));
  assert.ok((await site.lines()).some((line) => line.includes("audit.unreadable")));
  files.contents.set(second, kept.get(second) ?? new Uint8Array());
  // A file of nobody, and one that is no part any more because the record of the one before it is gone.
  files.contents.set(`/audit/${site.keeper.trail.chain}-000000009000-000000009001.jsonl`, Buffer.from("{}\n"));
  await site.move();
  assert.match((await site.keeper.verify()).problems.join("\n"), /no part of the trail/);
  files.contents.delete(`/audit/${site.keeper.trail.chain}-000000009000-000000009001.jsonl`);
  await site.move();
  files.contents.delete(first);
  await store.transact({ compare: [], then: [{ delete: record.key }] });
  assert.match((await site.keeper.verify()).problems.join("\n"), /entries 1 to \d+ are missing/);
  await site.keeper.stop();
});

test("a record that is gone is made again from its file", { timeout }, async () => {
  const clock = new TestClock();
  const store = await newStore(clock);
  const site = await started(store, clock);
  await site.write(100);
  await site.move();
  const before = names(await site.list());
  const last = (await entries(store, auditFilesPrefix)).at(-1);
  assert.ok(last);
  await store.transact({ compare: [], then: [{ delete: last.key }] });
  assert.notDeepEqual(names(await site.list()), before);
  await site.move();
  assert.deepEqual(names(await site.list()), before);
  assert.equal((await site.keeper.verify()).intact, true);
  await site.keeper.stop();
});

test("a chain that was taken out with its files and records is missed by the one after it", { timeout }, async () => {
  const clock = new TestClock();
  const files = new MemoryFiles();
  const store = await newStore(clock);
  const first = await started(store, clock, files);
  await first.write(60);
  await first.keeper.stop();
  const second = await started(store, clock, files);
  await second.move();
  files.contents.clear();
  await store.transact({ compare: [], then: [{ deletePrefix: `${auditFilesPrefix}${first.keeper.trail.chain}/` }] });
  assert.match((await second.keeper.verify()).problems.join("\n"), new RegExp(`${first.keeper.trail.chain}.* is missing`));
  await second.keeper.stop();
});

test("two servers on one store seal their own chains, and each bears witness to the other's", { timeout }, async () => {
  const clock = new TestClock();
  const store = await newStore(clock);
  const anna = await started(store, clock, new MemoryFiles(), "anna");
  await anna.write(20);
  // Chains are listed in the order of their begins, to the millisecond.
  clock.advance(2);
  const berta = await started(store, clock, new MemoryFiles(), "berta");
  await Promise.all([anna.write(60), berta.write(60)]);
  const slot = anna.keeper.trail.slot(); // under way for long
  await anna.keeper.trail.record({ actor: "anna", from: "", action: "test.behind", target: "", result: "done" });
  await Promise.all([anna.move(), berta.move()]);
  for (const site of [anna, berta]) {
    const verified = await site.keeper.verify();
    assert.deepEqual(verified.problems, []);
    assert.match(verified.notes.join("\n"), /verify it there/);
  }
  await berta.keeper.trail.checkpoint();
  assert.equal(await store.get(auditKey(anna.keeper.trail.chain, slot.sequence)), null, "it is given its time");
  const [told] = await berta.list({ limit: 1 });
  assert.equal(told?.action, "audit.checkpoint");
  // Silent for more than a minute: its last entries are sealed in its place, the number under way is taken from it.
  const sealedBefore = anna.keeper.trail.head.to;
  assert.ok(sealedBefore < anna.keeper.trail.last);
  clock.advance(61_000);
  await berta.keeper.trail.checkpoint();
  assert.ok((await store.get(auditKey(anna.keeper.trail.chain, slot.sequence)))?.value.includes("audit.fill"));
  assert.match((await berta.list({ limit: 1 }))[0]?.action ?? "", /checkpoint/);
  // And it goes on as if nothing had been.
  await anna.keeper.trail.claim(slot, { actor: "anna", from: "", action: "late", target: "", result: "done" });
  await anna.write(30);
  assert.equal(anna.keeper.trail.head.to, anna.keeper.trail.last);
  for (const site of [anna, berta]) assert.deepEqual((await site.keeper.verify()).problems, []);
  // Its end is cut off while it is away, beyond what its head says: the other one knows.
  await berta.keeper.trail.checkpoint();
  await anna.keeper.stop();
  const { chain } = anna.keeper.trail;
  await store.transact({ compare: [], then: [{ deletePrefix: `a/${chain}/` }] });
  assert.match((await berta.keeper.verify()).problems.join("\n"), new RegExp(`chain ${chain} is not as chain`));
  await berta.keeper.stop();
});

test("after an older backup was restored, files newer than it are part of the trail, and what is lost is told", { timeout }, async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-audit-"));
  const clock = new TestClock();
  const path = join(directory, "store.sqlite");
  const backup = join(directory, "backup.sqlite");
  const files = new MemoryFiles();
  try {
    let store = await openSqliteStore({ path, clock, random });
    context.after(() => store.close());
    const first = await started(store, clock, files);
    await first.write(60);
    await first.move();
    await store.backup(backup);
    await first.write(100);
    await first.move();
    await first.write(5, "lost-with-the-store");
    await first.keeper.stop();
    await first.keeper.verify();
    // A run that the backup knows nothing of at all.
    const second = await started(store, clock, files);
    await second.move(); // the first chain's end too
    await second.write(50, "second-run");
    await second.move();
    await second.write(5, "lost-with-the-store");
    const all = names(await second.list());
    await second.keeper.stop();
    const lost = await second.stored();
    assert.ok(lost > 0);
    // One more that knows how the second ended; then the file with the second's end is lost together with the store.
    const between = await started(store, clock, files);
    await between.move();
    await between.keeper.stop();
    clock.advance(2 * hour);
    await (await started(store, clock, files)).move();
    const ends = [...files.contents.keys()].filter((file) => file.includes(second.keeper.trail.chain)).sort();
    files.contents.delete(ends.at(-1) ?? "");
    await store.close();
    await rm(path);
    await restoreSqliteStore({ backup, path, clock, random });
    store = await openSqliteStore({ path, clock, random });
    const third = await started(store, clock, files);
    await third.move();
    const after = await third.list();
    const begin = after[0];
    assert.equal(begin?.action, "audit.begin");
    const said = begin.after as { restoredFrom?: string; knows: { chain: string; to: number }[] }; // what `audit.begin` holds
    assert.ok(said.restoredFrom !== undefined && said.restoredFrom !== store.incarnation);
    assert.deepEqual(
      said.knows.map(({ chain }) => chain),
      [first, second, between].map(({ keeper }) => keeper.trail.chain),
    );
    assert.deepEqual(names(after.slice(2)), all.slice(-after.length + 2), "all that was in files is there once");
    assert.ok(after.length > 200);
    const verified = await third.keeper.verify();
    assert.deepEqual(verified.problems, []);
    assert.match(verified.notes.join("\n"), /newer than the store/);
    assert.match(verified.notes.join("\n"), new RegExp(`${second.keeper.trail.chain} is not as .* did not have it`));
    // The restore is no cover for taking more away.
    const newest = [...files.contents.keys()].filter((file) => file.includes(second.keeper.trail.chain)).sort();
    files.contents.delete(newest.at(-1) ?? "");
    assert.equal((await third.keeper.verify()).intact, false);
    await third.keeper.stop();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
