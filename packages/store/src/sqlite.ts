/**
 * The embedded store: SQLite in a thread of its own, WAL, an fsync at each commit, many transactions a commit. One process at a
 * time has the data open. Opened by the server's `main.ts`; what the data file looks like is the business of `sqlite-schema.ts`.
 */
import { rename, rm, stat } from "node:fs/promises";
import { silentLogger, uuidv7 } from "@sheaf/base";
import type { Clock, Logger, Random, Timer } from "@sheaf/base";
import { LeaseClock } from "./lease-clock.ts";
import { assertAbsent } from "./sqlite-absent.ts";
import type { DatabaseStatistics, HistoryRow } from "./sqlite-database.ts";
import { decodeChanges } from "./sqlite-history.ts";
import { decodeEntries } from "./sqlite-protocol.ts";
import type { Item } from "./sqlite-protocol.ts";
import { WorkerLink } from "./sqlite-worker-link.ts";
import { deletedEntry } from "./plan-transaction.ts";
import { StoreError } from "./store.ts";
import type { DurableStore, Entry, Lease, RangeInput, RangeResult, TransactionInput, TransactionResult, Watch, WatchHandlers } from "./store.ts";
import { checkFromRevision, checkLeaseTime, checkRange, checkReadRevision, checkTransaction, closedError } from "./validation.ts";
import { eventsUnder, WatchHub } from "./watch-hub.ts";
import type { Replay } from "./watch-hub.ts";

export interface SqliteStoreOptions {
  /** The data file; `-wal` beside it. Its directory is made when missing. No other code may open it while the store does. */
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger?: Logger;
  /** History is forgotten beyond any of these. Defaults: 100,000 revisions, 256 MiB, 1 hour. */
  readonly historyRevisions?: number;
  readonly historyBytes?: number;
  readonly historyAgeMs?: number;
  /** The data file grows no further than this; by default only the disk's size counts. */
  readonly maxBytes?: number;
  /** After this long a commit without an answer is `uncertain`. Default 15,000. */
  readonly answerTimeoutMs?: number;
  /** Called once when the store can do no more (failed fsync, damaged file, lost thread): the process should end and be started again. */
  readonly failed?: (error: StoreError) => void;
}

export interface SqliteStatistics extends DatabaseStatistics {
  readonly transactions: number;
  /** Commits; fewer than transactions when they are grouped. */
  readonly batches: number;
  readonly watches: number;
}

export interface SqliteStore extends DurableStore {
  statistics(): Promise<SqliteStatistics>;
}

/** @throws StoreError `locked`, `corrupt`, `newer-schema`, `full`, `unavailable` */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<SqliteStore> {
  const hub = new WatchHub();
  let closing = false;
  const logger = options.logger ?? silentLogger;
  const { link, incarnation, leases } = await WorkerLink.open(
    {
      path: options.path,
      incarnation: uuidv7(options.clock.now(), options.random),
      historyRevisions: options.historyRevisions ?? 100_000,
      historyBytes: options.historyBytes ?? 256 * 1024 * 1024,
      historyAgeMs: options.historyAgeMs ?? 3_600_000,
      ...(options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes }),
    },
    {
      clock: options.clock,
      answerTimeoutMs: options.answerTimeoutMs ?? 15_000,
      committed: (revision, events) => hub.publish(revision, events),
      failed: (error) => {
        if (closing) return hub.close();
        hub.endAll(error);
        logger.error({ code: error.code }, error.message);
        options.failed?.(error);
      },
    },
  );
  const store = new WorkerStore(options, incarnation, link, hub, logger, () => (closing = true));
  for (const [lease, ttlMs] of leases) store.startLease(lease, ttlMs);
  return store;
}

const retryDropMs = 1000;

class WorkerStore implements SqliteStore {
  readonly incarnation: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #link: WorkerLink;
  readonly #hub: WatchHub;
  readonly #leases: LeaseClock;
  readonly #retries = new Set<Timer>();
  readonly #onClose: () => void;
  #closed: Promise<void> | null = null;

  constructor(options: SqliteStoreOptions, incarnation: string, link: WorkerLink, hub: WatchHub, logger: Logger, onClose: () => void) {
    this.incarnation = incarnation;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = logger;
    this.#link = link;
    this.#hub = hub;
    this.#leases = new LeaseClock(options.clock, (lease) => void this.#dropUntilDone(lease));
    this.#onClose = onClose;
  }

  startLease(lease: string, ttlMs: number): void {
    this.#leases.start(lease, ttlMs);
  }

  async get(key: string, { revision }: { readonly revision?: number } = {}): Promise<Entry | null> {
    this.#assertOpen();
    if (revision !== undefined) checkReadRevision(revision);
    return (await this.#link.call({ call: "get", key, revision: revision ?? null })) as Entry | null; // what the worker's perform returns
  }

  async range(input: RangeInput): Promise<RangeResult> {
    this.#assertOpen();
    checkRange(input);
    const page = (await this.#link.call({ call: "range", input })) as { entries: Item[]; revision: number; more: boolean }; // likewise
    return { ...page, entries: decodeEntries(page.entries) };
  }

  async transact(input: TransactionInput): Promise<TransactionResult> {
    this.#assertOpen();
    checkTransaction(input);
    return this.#link.transact(input);
  }

  watch({ prefix, fromRevision }: { readonly prefix: string; readonly fromRevision: number }, handlers: WatchHandlers): Watch {
    this.#assertOpen();
    checkFromRevision(fromRevision);
    const { watch, replay } = this.#hub.add(prefix, fromRevision, handlers);
    void this.#replay(prefix, fromRevision, replay);
    return watch;
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    this.#assertOpen();
    checkLeaseTime(ttlMs);
    const id = uuidv7(this.#clock.now(), this.#random);
    await this.#link.call({ call: "grant-lease", lease: id, ttlMs });
    this.#leases.start(id, ttlMs);
    return { id, ttlMs };
  }

  async keepAlive(lease: string): Promise<void> {
    this.#assertOpen();
    this.#leases.keepAlive(lease);
  }

  async revokeLease(lease: string): Promise<void> {
    this.#assertOpen();
    // First in the file: a lease that could not be dropped there lives on here, and runs out later.
    await this.#drop(lease);
    this.#leases.stop(lease);
  }

  async leaseTime(lease: string): Promise<number | null> {
    this.#assertOpen();
    return this.#leases.time(lease);
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen();
    checkReadRevision(revision);
    await this.#link.call({ call: "compact", revision });
  }

  async revision(): Promise<number> {
    this.#assertOpen();
    return (await this.#link.call({ call: "revision" })) as number; // what the worker's perform returns
  }

  async backup(path: string): Promise<{ revision: number; bytes: number }> {
    this.#assertOpen();
    await assertAbsent(path);
    const unfinished = `${path}.unfinished`;
    try {
      await rm(unfinished, { force: true });
      const done = (await this.#link.call({ call: "backup", path: unfinished })) as { revision: number }; // likewise
      const { size } = await stat(unfinished);
      await rename(unfinished, path);
      return { revision: done.revision, bytes: size };
    } catch (error) {
      await rm(unfinished, { force: true });
      if (error instanceof StoreError) throw error;
      throw new StoreError("unavailable", `the backup to ${path} failed: ${String(error)}`, { cause: error });
    }
  }

  async statistics(): Promise<SqliteStatistics> {
    this.#assertOpen();
    const database = (await this.#link.call({ call: "statistics" })) as DatabaseStatistics; // likewise
    return { ...database, transactions: this.#link.transactions, batches: this.#link.batches, watches: this.#hub.size };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#onClose();
    this.#leases.close();
    for (const timer of this.#retries) timer.cancel();
    await this.#link.close();
    this.#hub.close();
  }

  #assertOpen(): void {
    if (this.#closed !== null) throw closedError();
  }

  async #replay(prefix: string, fromRevision: number, replay: Replay): Promise<void> {
    try {
      for (let from = fromRevision, more = true; more;) {
        const page = (await this.#link.call({ call: "history", fromRevision: from })) as { rows: HistoryRow[]; through: number; more: boolean }; // likewise
        for (const { revision, changes } of page.rows) {
          const events = eventsUnder(prefix, decodeChanges(revision, changes));
          if (events.length > 0) replay.batch({ revision, events });
        }
        from = page.through + 1;
        more = page.more;
        if (!more) replay.done(page.through);
      }
    } catch (error) {
      replay.failed(
        error instanceof StoreError ? error : new StoreError("unavailable", `the watch could not begin: ${String(error)}`, { cause: error }),
      );
    }
  }

  async #drop(lease: string): Promise<void> {
    const { revision, keys } = (await this.#link.call({ call: "drop-lease", lease })) as { revision: number; keys: string[] }; // likewise
    if (keys.length > 0)
      this.#hub.publish(
        revision,
        keys.map((key) => ({ type: "delete", entry: deletedEntry(key, revision) })),
      );
  }

  /** Keys of a lease that has run out must go, however long the disk is full. */
  async #dropUntilDone(lease: string): Promise<void> {
    try {
      await this.#drop(lease);
    } catch (error) {
      if (this.#closed !== null) return;
      this.#logger.warn({ lease, error: String(error) }, "The keys of an expired lease could not be deleted; trying again");
      const timer = this.#clock.setTimer(retryDropMs, () => {
        this.#retries.delete(timer);
        void this.#dropUntilDone(lease);
      });
      this.#retries.add(timer);
    }
  }
}
