/**
 * The store's semantics on one SQLite connection, synchronously. Called by the worker thread only (and by tests); it blocks while
 * the disk is written. One instance holds the file's lock.
 */
import { backup, type DatabaseSync, type StatementSync } from "node:sqlite";
import { compareKeys } from "./key-order.ts";
import { PinnedViews, readPage } from "./pinned-views.ts";
import { planDelete, planTransaction } from "./plan-transaction.ts";
import type { Change, Look, Plan } from "./plan-transaction.ts";
import { decodeChanges, encodeChanges } from "./sqlite-history.ts";
import { openDatabase, readMeta, readPragma, resultCodes, sqliteCode } from "./sqlite-schema.ts";
import { StoreError } from "./store.ts";
import type { Entry, RangeInput, RangeResult, TransactionInput } from "./store.ts";
import { compactedError, futureRevisionError } from "./validation.ts";

export interface SqliteDatabaseOptions {
  readonly path: string;
  readonly incarnation: string;
  /** Bounds of history; whichever is reached first. */
  readonly historyRevisions: number;
  readonly historyBytes: number;
  readonly historyAgeMs: number;
  readonly maxBytes?: number;
}

/** What became of one transaction of a batch. */
export type Outcome = { readonly plan: Plan; readonly revision: number } | { readonly error: StoreError };

/** Changes of one revision, as they lie in history. */
export interface HistoryRow {
  readonly revision: number;
  readonly changes: string;
}

export interface DatabaseStatistics {
  readonly dataBytes: number;
  readonly historyRevisions: number;
  readonly historyBytes: number;
}

type Row = [key: string, value: string, createRevision: number, modRevision: number, version: number, lease: string | null];

/** Rows of history cut off at once, so that no commit takes long. */
const trimRows = 2000;
const replayRows = 500;
const replayBytes = 2 * 1024 * 1024;

export class SqliteDatabase {
  readonly incarnation: string;
  readonly leases = new Map<string, number>();
  readonly #options: SqliteDatabaseOptions;
  readonly #database: DatabaseSync;
  readonly #views = new PinnedViews();
  readonly #look: Look;
  readonly #selectEntry: StatementSync;
  readonly #selectFrom: StatementSync;
  readonly #upsertEntry: StatementSync;
  readonly #deleteEntry: StatementSync;
  readonly #insertHistory: StatementSync;
  readonly #selectHistory: StatementSync;
  #revision: number;
  #compactRevision: number;
  #historyBytes: number;
  #ageCheckedAt = 0;
  /** Set when the file can no longer be trusted; nothing is done afterwards. */
  #broken: StoreError | null = null;

  /** @throws StoreError as `openDatabase` */
  constructor(options: SqliteDatabaseOptions) {
    this.#options = options;
    const database = openDatabase(options);
    this.#database = database;
    const prepare = (sql: string): StatementSync => {
      const statement = database.prepare(sql);
      statement.setReturnArrays(true);
      return statement;
    };
    const columns = "key, value, create_revision, mod_revision, version, lease";
    this.#selectEntry = prepare(`SELECT ${columns} FROM entries WHERE key = ?`);
    this.#selectFrom = prepare(`SELECT ${columns} FROM entries WHERE key >= ? ORDER BY key`);
    this.#upsertEntry = prepare(`INSERT OR REPLACE INTO entries (${columns}) VALUES (?, ?, ?, ?, ?, ?)`);
    this.#deleteEntry = prepare("DELETE FROM entries WHERE key = ?");
    this.#insertHistory = prepare("INSERT INTO history (revision, committed_at, bytes, changes) VALUES (?, ?, ?, ?)");
    this.#selectHistory = prepare("SELECT revision, changes FROM history WHERE revision > ? ORDER BY revision");
    this.#look = { get: (key) => this.#entry(key), under: (prefix) => this.#under(prefix), hasLease: (lease) => this.leases.has(lease) };
    this.incarnation = String(readMeta(database, "incarnation"));
    this.#compactRevision = Number(readMeta(database, "compactRevision"));
    const history = database.prepare("SELECT max(revision) AS newest, sum(bytes) AS bytes FROM history").get();
    this.#revision = Math.max(this.#compactRevision, Number(history?.["newest"] ?? 0));
    this.#historyBytes = Number(history?.["bytes"] ?? 0);
    for (const row of database.prepare("SELECT id, ttl_ms FROM leases").iterate()) this.leases.set(String(row["id"]), Number(row["ttl_ms"]));
  }

  get revision(): number {
    return this.#revision;
  }

  /** Set when nothing can be read or written any more; the process should end. */
  get broken(): StoreError | null {
    return this.#broken;
  }

  /**
   * Commits a batch of transactions with one fsync. Each succeeds or fails on its own, unless the disk fails: then all fail.
   * @param nowMs wall clock, for the age of history
   */
  commit(batch: readonly TransactionInput[], nowMs: number): Outcome[] {
    try {
      return this.#write(nowMs, (write) => batch.map((input) => this.#attempt(input, write)));
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return batch.map(() => ({ error }));
    }
  }

  get(key: string, revision?: number): Entry | null {
    this.#assertWhole();
    const then = this.#viewAt(revision ?? this.#revision).get(key);
    return then === undefined ? this.#entry(key) : then;
  }

  range(input: RangeInput): RangeResult {
    this.#assertWhole();
    const revision = input.revision ?? this.#revision;
    const page = readPage(input, revision, this.#viewAt(revision), this.#under(input.prefix, input.after));
    if (page.more && revision === this.#revision) this.#views.pin(revision);
    return page;
  }

  /** Rows from a revision on; a page of them: `through` is where the next one begins after. @throws StoreError `compacted` */
  history(fromRevision: number): { readonly rows: readonly HistoryRow[]; readonly through: number; readonly more: boolean } {
    this.#assertWhole();
    if (fromRevision <= this.#compactRevision) throw compactedError(fromRevision, this.#compactRevision);
    const rows: HistoryRow[] = [];
    let bytes = 0;
    for (const row of this.#historyAfter(fromRevision - 1)) {
      if (rows.length === replayRows || bytes > replayBytes) return { rows, through: rows.at(-1)?.revision ?? 0, more: true };
      rows.push(row);
      bytes += row.changes.length;
    }
    return { rows, through: this.#revision, more: false };
  }

  grantLease(id: string, ttlMs: number, nowMs: number): void {
    this.#write(nowMs, () => this.#database.prepare("INSERT INTO leases (id, ttl_ms) VALUES (?, ?)").run(id, ttlMs));
    this.leases.set(id, ttlMs);
  }

  /** Deletes a lease and its keys. @returns the changes, none when it had no keys or was gone */
  dropLease(id: string, nowMs: number): { readonly revision: number; readonly changes: readonly Change[] } {
    const changes = this.#write(nowMs, (write) => {
      const keys = this.#database.prepare("SELECT key FROM entries WHERE lease = ? ORDER BY key").all(id);
      const found = keys.flatMap((row) => this.#entry(String(row["key"])) ?? []).map((entry) => planDelete(entry, write.nextRevision));
      this.#database.prepare("DELETE FROM leases WHERE id = ?").run(id);
      write.apply(found);
      return found;
    });
    this.leases.delete(id);
    return { revision: this.#revision, changes };
  }

  /** @throws StoreError `future-revision` */
  compact(revision: number, nowMs: number): void {
    this.#assertWhole();
    if (revision > this.#revision) throw futureRevisionError(revision, this.#revision);
    this.#write(nowMs, (write) => write.trim(revision));
  }

  /** Copies the data while transactions go on. */
  async backup(path: string): Promise<{ readonly revision: number }> {
    this.#assertWhole();
    await backup(this.#database, path, { rate: 1024 });
    return { revision: this.#revision };
  }

  statistics(): DatabaseStatistics {
    return {
      dataBytes: readPragma(this.#database, "page_count") * readPragma(this.#database, "page_size"),
      historyRevisions: this.#revision - this.#compactRevision,
      historyBytes: this.#historyBytes,
    };
  }

  close(): void {
    this.#database.close();
  }

  #attempt(input: TransactionInput, write: Write): Outcome {
    let plan: Plan;
    try {
      plan = planTransaction(input, write.nextRevision, this.#look);
    } catch (error) {
      if (error instanceof StoreError) return { error };
      throw error;
    }
    write.apply(plan.changes);
    return { plan, revision: write.nextRevision - 1 };
  }

  /**
   * Runs `work` in one SQLite transaction; what this object remembers changes only once that is durable.
   * @throws StoreError `full`, `unavailable` (both: certainly nothing was written), `uncertain`, `corrupt`
   */
  #write<Result>(nowMs: number, work: (write: Write) => Result): Result {
    this.#assertWhole();
    const write = new Write(this.#revision, this.#compactRevision, this.#historyBytes, {
      putEntry: (entry) => this.#upsertEntry.run(entry.key, entry.value, entry.createRevision, entry.modRevision, entry.version, entry.lease),
      deleteEntry: (key) => this.#deleteEntry.run(key),
      addHistory: (revision, bytes, changes) => this.#insertHistory.run(revision, nowMs, bytes, changes),
      cutHistory: (through) => this.#cutHistory(through),
    });
    let committing = false;
    let result: Result;
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      result = work(write);
      const target = this.#trimTarget(write, nowMs);
      if (target > write.compactRevision) write.trim(target);
      committing = true;
      this.#database.exec("COMMIT");
    } catch (error) {
      throw this.#failed(error, committing);
    }
    this.#revision = write.nextRevision - 1;
    this.#compactRevision = write.compactRevision;
    this.#historyBytes = write.historyBytes;
    for (const change of write.changes) this.#views.changed(change);
    this.#views.compacted(this.#compactRevision);
    return result;
  }

  #failed(error: unknown, committing: boolean): StoreError {
    const code = sqliteCode(error);
    const text = error instanceof Error ? error.message : String(error);
    let failure: StoreError;
    if (code === resultCodes.full) {
      failure = new StoreError("full", "the store's disk is full: nothing was written; free space, reads go on meanwhile", { cause: error });
    } else if (code === resultCodes.corrupt || code === resultCodes.notADatabase) {
      failure = this.#broken = new StoreError("corrupt", `the data file is damaged (${text}); stop the server and restore a backup`, {
        cause: error,
      });
    } else if (committing) {
      // The commit's frames may have reached the disk although the fsync failed: only reading the file anew can tell.
      failure = new StoreError("uncertain", `the commit failed (${text}); it is perhaps on disk: look before repeating it`, { cause: error });
      this.#broken = new StoreError("unavailable", `the store stopped after a failed commit (${text}); start the server again`, { cause: error });
    } else {
      failure = new StoreError("unavailable", `the store could not write: ${text}`, { cause: error });
    }
    try {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
    } catch (cause) {
      this.#broken ??= new StoreError("unavailable", "the store could not undo a failed transaction; start the server again", { cause });
    }
    return failure;
  }

  /** How far history is to be forgotten now; a margin keeps this from happening at each commit. */
  #trimTarget(write: Write, nowMs: number): number {
    const { historyRevisions, historyBytes, historyAgeMs } = this.#options;
    const oldest = write.compactRevision;
    const newest = write.nextRevision - 1;
    const kept = newest - oldest;
    let target = oldest;
    if (kept > historyRevisions + Math.min(trimRows, historyRevisions / 4)) target = newest - historyRevisions;
    if (write.historyBytes > historyBytes) target = Math.max(target, oldest + Math.ceil(kept / 16));
    if (nowMs - this.#ageCheckedAt > historyAgeMs / 16 && kept > 0) {
      this.#ageCheckedAt = nowMs;
      const row = this.#database
        .prepare("SELECT max(revision) AS last FROM (SELECT revision, committed_at FROM history ORDER BY revision LIMIT ?) WHERE committed_at < ?")
        .get(trimRows, nowMs - historyAgeMs);
      target = Math.max(target, Number(row?.["last"] ?? 0));
    }
    return Math.min(target, oldest + trimRows);
  }

  /** @returns the bytes of history that are gone */
  #cutHistory(through: number): number {
    const bytes = Number(this.#database.prepare("SELECT sum(bytes) AS bytes FROM history WHERE revision <= ?").get(through)?.["bytes"] ?? 0);
    this.#database.prepare("DELETE FROM history WHERE revision <= ?").run(through);
    this.#database.prepare("UPDATE meta SET value = ? WHERE name = 'compactRevision'").run(through);
    return bytes;
  }

  #viewAt(revision: number): ReadonlyMap<string, Entry | null> {
    if (revision > this.#revision) throw futureRevisionError(revision, this.#revision);
    if (revision < this.#compactRevision) throw compactedError(revision, this.#compactRevision);
    return this.#views.at(revision, this.#revision, (after) => this.#changesAfter(after));
  }

  *#changesAfter(revision: number): Generator<Change, void, undefined> {
    for (const row of this.#historyAfter(revision)) yield* decodeChanges(row.revision, row.changes);
  }

  *#historyAfter(revision: number): Generator<HistoryRow, void, undefined> {
    for (const row of this.#selectHistory.iterate(revision)) {
      const [number, changes] = row as unknown as [number, string]; // arrays by setReturnArrays, in the order of the columns
      yield { revision: number, changes };
    }
  }

  #entry(key: string): Entry | null {
    const row = this.#selectEntry.get(key);
    return row === undefined ? null : toEntry(row as unknown as Row); // an array by setReturnArrays, in the order of the columns
  }

  *#under(prefix: string, after?: string): Generator<Entry, void, undefined> {
    // SQLite compares the UTF-8 bytes, as all of these do: what begins with the prefix lies together.
    const rows = this.#selectFrom.iterate(after !== undefined && compareKeys(after, prefix) > 0 ? after : prefix);
    for (const row of rows) {
      const entry = toEntry(row as unknown as Row); // as above
      if (!entry.key.startsWith(prefix)) return;
      if (entry.key !== after) yield entry;
    }
  }

  #assertWhole(): void {
    if (this.#broken !== null) throw this.#broken;
  }
}

function toEntry([key, value, createRevision, modRevision, version, lease]: Row): Entry {
  return { key, value, createRevision, modRevision, version, lease };
}

interface WriteStatements {
  putEntry(entry: Entry): void;
  deleteEntry(key: string): void;
  addHistory(revision: number, bytes: number, changes: string): void;
  cutHistory(through: number): number;
}

/** One SQLite transaction under way: what the store will be once it is committed. */
class Write {
  nextRevision: number;
  compactRevision: number;
  historyBytes: number;
  readonly changes: Change[] = [];
  readonly #statements: WriteStatements;

  constructor(revision: number, compactRevision: number, historyBytes: number, statements: WriteStatements) {
    this.nextRevision = revision + 1;
    this.compactRevision = compactRevision;
    this.historyBytes = historyBytes;
    this.#statements = statements;
  }

  /** Makes the changes the next revision, unless there are none. */
  apply(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    for (const change of changes) {
      if (change.type === "put") this.#statements.putEntry(change.entry);
      else this.#statements.deleteEntry(change.entry.key);
      this.changes.push(change);
    }
    const text = encodeChanges(changes);
    this.#statements.addHistory(this.nextRevision, text.length, text);
    this.historyBytes += text.length;
    this.nextRevision += 1;
  }

  trim(through: number): void {
    if (through <= this.compactRevision) return;
    this.historyBytes -= this.#statements.cutHistory(through);
    this.compactRevision = through;
  }
}
