/** kill -9 at any moment loses nothing that was acknowledged and leaves no half transaction. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { randomInt, seededRandom, SimulatedClock } from "@sheaf/base";
import { hasCode } from "./testing/conformance-kit.ts";
import { openSqliteStore } from "./sqlite.ts";
import type { Entry, Store } from "./store.ts";

const cycles = Number(process.env["SHEAF_KILL_CYCLES"] ?? 12);
const fixture = fileURLToPath(new URL("./testing/sqlite-writer.fixture.ts", import.meta.url));

const directory = await mkdtemp(join(tmpdir(), "sheaf-kill-"));
after(() => rm(directory, { recursive: true }));

interface Life {
  /** Codes of the errors that writers met, and what reading gave afterwards; a killed life has none. */
  readonly errors: ReadonlySet<string>;
  readonly read: string | null;
  readonly incarnation: string;
  readonly startRevision: number;
  /** Highest acknowledged number and revision of each writer. */
  readonly acknowledged: ReadonlyMap<number, { number: number; revision: number }>;
}

/** Starts the writer, kills it after `acks` acknowledgements and `extraMs` more. */
function liveAndDie(path: string, cycle: number, acks: number, extraMs: number, onFirst?: () => Promise<void>): Promise<Life> {
  const child = spawn(process.execPath, [fixture, path, String(cycle)], { stdio: ["ignore", "pipe", "inherit"] });
  return follow(child, async (count) => {
    if (count === 1) await onFirst?.();
    // The moment of death is spread over all phases of a commit and of a checkpoint.
    if (count === acks) setTimeout(() => child.kill("SIGKILL"), extraMs);
  });
}

/** Reads what the writer says until it has ended. */
async function follow(child: { readonly stdout: Readable }, onAck: (count: number) => Promise<void>): Promise<Life> {
  const acknowledged = new Map<number, { number: number; revision: number }>();
  const errors = new Set<string>();
  let read: string | null = null;
  let incarnation = "";
  let startRevision = 0;
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [kind, ...rest] = line.split(" ");
    if (kind === "open") {
      incarnation = rest[0] ?? "";
      startRevision = Number(rest[1]);
    } else if (kind === "error") errors.add(rest[0] ?? "");
    else if (kind === "read") read = rest[0] ?? null;
    else {
      const [writer = 0, number = 0, revision = 0] = rest.map(Number);
      acknowledged.set(writer, { number, revision });
      count += 1;
      await onAck(count);
    }
  }
  return { incarnation, startRevision, acknowledged, errors, read };
}

async function everything(store: Store, prefix: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let more = true; more;) {
    const last = entries.at(-1)?.key;
    const page = await store.range({ prefix, ...(last === undefined ? {} : { after: last }) });
    entries.push(...page.entries);
    more = page.more;
  }
  return entries;
}

/** @returns how many transactions were acknowledged */
async function assertNothingLost(store: Store, cycle: number, life: Life): Promise<number> {
  let total = 0;
  let newest = life.startRevision;
  for (const [writer, { number, revision }] of life.acknowledged) {
    total += number;
    newest = Math.max(newest, revision);
    const first = await store.get(`w/${cycle}/${writer}/first`);
    const second = await store.get(`w/${cycle}/${writer}/second`);
    const found = Number(first?.value.split(":")[0]);
    // One more may have been committed without the acknowledgement getting out.
    assert.ok(found === number || found === number + 1, `writer ${writer}: acknowledged ${number}, found ${found}`);
    assert.equal(second?.value, first?.value);
    assert.equal(second?.modRevision, first?.modRevision);
    const log = await everything(store, `log/${cycle}/${writer}/`);
    assert.deepEqual(
      log.map((entry) => Number(entry.value)).sort((left, right) => left - right),
      Array.from({ length: found }, (_, index) => index + 1),
    );
  }
  assert.ok((await store.revision()) >= newest);
  return total;
}

async function assertNothingLostAt(path: string, life: Life): Promise<void> {
  const store = await openSqliteStore({ path, clock: new SimulatedClock(), random: seededRandom(1) });
  try {
    assert.ok((await assertNothingLost(store, 0, life)) > 0);
  } finally {
    await store.close();
  }
}

/** Two files side by side: most of a life is the start of its process. */
const lanes = 2;

test(`every acknowledged write is there after each of ${cycles} kills`, { timeout: 60_000 + cycles * 10_000 }, async (t) => {
  const seed = Number(process.env["SHEAF_KILL_SEED"] ?? 20);
  const totals = await Promise.all(Array.from({ length: lanes }, (_, lane) => liveAgainAndAgain(lane, seed * lanes + lane)));
  const total = totals.reduce((sum, each) => sum + each, 0);
  assert.ok(total > cycles, `only ${total} writes in ${cycles} lives`);
  t.diagnostic(`${total} acknowledged transactions in ${cycles} lives`);
});

/** @returns how many transactions were acknowledged */
async function liveAgainAndAgain(lane: number, seed: number): Promise<number> {
  const path = join(directory, `store-${lane}.db`);
  const random = seededRandom(seed);
  let total = 0;
  let incarnation: string | null = null;
  for (let cycle = lane; cycle < cycles; cycle += lanes) {
    const life = await liveAndDie(path, cycle, 1 + randomInt(random, Math.floor(cycle / lanes) % 10 === 0 ? 4000 : 120), randomInt(random, 12));
    const store = await openSqliteStore({ path, clock: new SimulatedClock(), random: seededRandom(1) });
    try {
      incarnation ??= store.incarnation;
      assert.equal(store.incarnation, incarnation);
      assert.equal(life.incarnation, incarnation);
      total += await assertNothingLost(store, cycle, life);
    } finally {
      await store.close();
    }
  }
  return total;
}

test("another process is told that the store is open", { timeout: 60_000 }, async () => {
  const path = join(directory, "locked.db");
  let refusal: unknown = null;
  const life = await liveAndDie(path, 0, 50, 0, async () => {
    refusal = await openSqliteStore({ path, clock: new SimulatedClock(), random: seededRandom(1) }).then(
      (store) => store.close(),
      (error) => error,
    );
  });
  assert.ok(hasCode("locked")(refusal));
  await assertNothingLostAt(path, life);
});

test("when writing to the disk fails in the commit, nothing acknowledged is lost and nothing more is promised", { timeout: 60_000 }, async () => {
  const path = join(directory, "failing.db");
  // A file may not grow above 2 MiB: the write fails with EFBIG, which SQLite takes for an I/O error.
  const child = spawn("bash", ["-c", `trap '' XFSZ; ulimit -f 2048; exec "$0" "$@"`, process.execPath, fixture, path, "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const life = await follow(child, async () => {});
  assert.deepEqual(
    [...life.errors].sort().filter((code) => code !== "unavailable"),
    ["uncertain"],
  );
  assert.equal(life.read, "unavailable");
  await assertNothingLostAt(path, life);
});

const rootOnly = process.getuid?.() === 0 ? {} : { skip: "mounting a small file system needs root" };

test("when the disk is really full, writes are refused, reads go on, nothing is lost", { timeout: 60_000, ...rootOnly }, async () => {
  const mount = join(directory, "small");
  mkdirSync(mount);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", mount]);
  try {
    const path = join(mount, "store.db");
    const child = spawn(process.execPath, [fixture, path, "0"], { stdio: ["ignore", "pipe", "inherit"] });
    const life = await follow(child, async () => {});
    assert.deepEqual([...life.errors], ["full"]);
    assert.equal(life.read, "entry");
    execFileSync("mount", ["-o", "remount,size=64m", mount]);
    await assertNothingLostAt(path, life);
  } finally {
    execFileSync("umount", [mount]);
  }
});
