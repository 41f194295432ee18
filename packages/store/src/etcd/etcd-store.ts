/**
 * The store on etcd. One watch of everything feeds all watches of this process; reads and transactions go to the cluster. Opened by
 * `openEtcdStore` alone; the cluster is the business of `connection.ts`, the keys' places that of `keyspace.ts`.
 */
import { silentLogger, uuidv7 } from "@sheaf/base";
import type { Clock, Logger } from "@sheaf/base";
import type { EtcdStore, EtcdStoreOptions } from "../etcd.ts";
import { backUpToSqlite } from "../sqlite-backup.ts";
import { StoreError, storeLimits } from "../store.ts";
import type { Entry, Lease, RangeInput, RangeResult, TransactionInput, TransactionResult, Watch, WatchHandlers } from "../store.ts";
import {
  checkFromRevision,
  checkLeaseTime,
  checkRange,
  checkReadRevision,
  checkTransaction,
  closedError,
  compactedError,
  futureRevisionError,
  leaseExpiredError,
} from "../validation.ts";
import { WatchHub } from "../watch-hub.ts";
import type { Replay } from "../watch-hub.ts";
import { CompactionSchedule } from "./compaction-schedule.ts";
import { EtcdConnection } from "./connection.ts";
import { EtcdWatch } from "./etcd-watch.ts";
import { claimPlace, lifeEndedError, markPlace } from "./identity.ts";
import type { Identity, PlaceState } from "./identity.ts";
import { decodeTransaction, encodeTransaction, entryOf, eventsOf, fromEtcd, Keyspace, sameLife } from "./keyspace.ts";
import type { RangeRequest, RangeResponse } from "./messages.ts";
import { methods } from "./methods.ts";

/** The first of a page's requests; the next ones follow from the values' size. */
const firstRequestEntries = 64;
/** So many beats may go by without the watch having come to where it should be, before a mark is put. */
const patientBeats = 3;
const defaultAnswerTimeoutMs = 5000;

export async function connectEtcdStore(options: EtcdStoreOptions): Promise<EtcdStore> {
  const logger = options.logger ?? silentLogger;
  const space = new Keyspace(options.prefix ?? "sheaf/");
  let store: ConnectedStore | null = null;
  const connection = new EtcdConnection({
    endpoints: options.endpoints,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    clock: options.clock,
    logger,
    probe: { key: space.incarnationKey, count_only: true },
    answerTimeoutMs: options.answerTimeoutMs ?? defaultAnswerTimeoutMs,
    beat: () => store?.beat(),
  });
  try {
    const identity = await claimPlace(connection, space, uuidv7(options.clock.now(), options.random), options.purpose ?? "serve");
    const { header } = await connection.read(methods.range, { key: space.incarnationKey, count_only: true });
    store = new ConnectedStore(options, logger, connection, space, identity, Number(header?.revision));
    return store;
  } catch (error) {
    connection.close();
    throw error;
  }
}

class ConnectedStore implements EtcdStore {
  readonly incarnation: string;
  readonly #options: EtcdStoreOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #connection: EtcdConnection;
  readonly #space: Keyspace;
  readonly #hub = new WatchHub();
  readonly #compaction: CompactionSchedule;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #replays = new Set<EtcdWatch>();
  #identity: Identity;
  #upstream: EtcdWatch;
  /** The watch has told everything up to here. */
  #told: number;
  /** The newest revision that any answer named. */
  #seen: number;
  /** What the watch had told at the last beat, and for how many beats it has not been enough. */
  #behind = { at: -1, beats: 0 };
  #waiters: { readonly revision: number; readonly resolve: () => void }[] = [];
  #failure: StoreError | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: EtcdStoreOptions, logger: Logger, connection: EtcdConnection, space: Keyspace, identity: Identity, revision: number) {
    this.#options = options;
    this.#clock = options.clock;
    this.#logger = logger;
    this.#connection = connection;
    this.#space = space;
    this.#identity = identity;
    this.incarnation = identity.incarnation;
    this.#told = this.#seen = revision - identity.base;
    this.#upstream = this.#follow();
    this.#compaction = new CompactionSchedule(options.historyAgeMs ?? 3_600_000, options.historyRevisions ?? 100_000);
  }

  async get(key: string, { revision }: { readonly revision?: number } = {}): Promise<Entry | null> {
    this.#assertOpen();
    if (revision !== undefined) checkReadRevision(revision);
    const { kvs } = await this.#range({ key: this.#space.at(key) }, revision);
    return kvs[0] === undefined ? null : entryOf(this.#space, this.#identity, kvs[0]);
  }

  async range(input: RangeInput): Promise<RangeResult> {
    this.#assertOpen();
    checkRange(input);
    const limit = input.limit ?? storeLimits.pageEntries;
    const entries: Entry[] = [];
    let { revision } = input;
    let after = input.after;
    let bytes = 0;
    for (;;) {
      // etcd bounds the number of a page's keys, not its bytes: as many as will probably fit are asked for.
      const fitting = entries.length === 0 ? firstRequestEntries : Math.ceil(((storeLimits.pageBytes - bytes) * entries.length) / Math.max(1, bytes));
      const wanted = Math.max(1, Math.min(limit - entries.length, fitting));
      const page = await this.#range({ ...this.#space.page(input.prefix, after), limit: wanted }, revision);
      revision ??= fromEtcd(this.#identity, page.header?.revision ?? "0");
      for (const kv of page.kvs) {
        const entry = entryOf(this.#space, this.#identity, kv);
        entries.push(entry);
        bytes += kv.key.length + kv.value.length;
        after = entry.key;
        if (bytes >= storeLimits.pageBytes) return { entries, revision, more: page.more || kv !== page.kvs.at(-1) };
      }
      if (!page.more || entries.length === limit) return { entries, revision, more: page.more };
    }
  }

  async transact(input: TransactionInput): Promise<TransactionResult> {
    this.#assertOpen();
    checkTransaction(input);
    if (input.then.some(namesNoLease) || input.else?.some(namesNoLease)) throw leaseExpiredError("of another store");
    const response = await this.#track(this.#connection.write(methods.transact, encodeTransaction(this.#space, this.#identity, input)));
    const result = decodeTransaction(this.#space, this.#identity, input, response);
    if (result === null) throw this.#lifeEnded();
    this.#seen = Math.max(this.#seen, result.revision);
    return result;
  }

  watch({ prefix, fromRevision }: { readonly prefix: string; readonly fromRevision: number }, handlers: WatchHandlers): Watch {
    this.#assertOpen();
    checkFromRevision(fromRevision);
    const { watch, replay } = this.#hub.add(prefix, fromRevision, handlers);
    if (fromRevision > this.#told) {
      replay.done(this.#told);
      return watch;
    }
    const past = this.#replay(prefix, fromRevision, this.#told, replay);
    return {
      close: () => {
        this.#endReplay(past);
        watch.close();
      },
    };
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    this.#assertOpen();
    checkLeaseTime(ttlMs);
    const { ID, TTL } = await this.#track(this.#connection.read(methods.grantLease, { TTL: Math.ceil(ttlMs / 1000) }));
    return { id: ID, ttlMs: Number(TTL) * 1000 };
  }

  async keepAlive(lease: string): Promise<void> {
    this.#assertOpen();
    if (!isLease(lease)) throw leaseExpiredError(lease);
    const { TTL } = await this.#connection.exchange(methods.keepAlive, { ID: lease });
    if (Number(TTL) <= 0) throw leaseExpiredError(lease);
  }

  async revokeLease(lease: string): Promise<void> {
    this.#assertOpen();
    if (!isLease(lease)) return;
    try {
      await this.#track(this.#connection.read(methods.revokeLease, { ID: lease }));
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "lease-expired")) throw error;
    }
  }

  async leaseTime(lease: string): Promise<number | null> {
    this.#assertOpen();
    if (!isLease(lease)) return null;
    const { TTL, grantedTTL } = await this.#connection.read(methods.leaseTime, { ID: lease });
    return Number(TTL) <= 0 ? null : Number(grantedTTL) * 1000;
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen();
    checkReadRevision(revision);
    await this.#untilTold(revision);
    try {
      await this.#connection.read(methods.compact, { revision: revision + this.#identity.base });
    } catch (error) {
      // Forgotten already, and more than that.
      if (error instanceof StoreError && error.code === "compacted") return;
      throw await this.#explained(error, revision);
    }
  }

  async revision(): Promise<number> {
    this.#assertOpen();
    const { header } = await this.#range({ key: this.#space.incarnationKey, count_only: true }, undefined);
    return fromEtcd(this.#identity, header?.revision ?? "0");
  }

  backup(path: string): Promise<{ readonly revision: number; readonly bytes: number }> {
    this.#assertOpen();
    return backUpToSqlite(this, path, { clock: this.#clock, random: this.#options.random });
  }

  async setState(state: PlaceState): Promise<void> {
    this.#assertOpen();
    this.#identity = await markPlace(this.#connection, this.#space, this.#identity, state);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Twice a second: is the watch where it should be, and what may be forgotten? */
  beat(): void {
    if (this.#closed !== null || this.#failure !== null) return;
    const late = this.#told < this.#seen || this.#replays.size > 0;
    this.#behind = late && this.#behind.at === this.#told ? { at: this.#told, beats: this.#behind.beats + 1 } : { at: this.#told, beats: 0 };
    if (this.#behind.beats >= patientBeats) {
      this.#behind.beats = 0;
      void this.#mark();
    }
    const forget = this.#compaction.due(this.#clock.monotonic(), this.#told);
    if (forget !== null) void this.compact(forget).catch((error) => this.#logger.debug({ error: String(error) }, "not compacted this time"));
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    this.#upstream.close();
    for (const replay of this.#replays) replay.close();
    this.#connection.close();
    this.#hub.close();
  }

  #assertOpen(): void {
    if (this.#closed !== null) throw closedError();
    if (this.#failure !== null) throw this.#failure;
  }

  async #track<Value>(work: Promise<Value>): Promise<Value> {
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
    }
  }

  async #range(request: RangeRequest, revision: number | undefined): Promise<RangeResponse> {
    try {
      const at = revision === undefined ? {} : { revision: revision + this.#identity.base };
      const response = await this.#connection.read(methods.range, { ...request, ...at });
      this.#seen = Math.max(this.#seen, fromEtcd(this.#identity, response.header?.revision ?? "0"));
      return response;
    } catch (error) {
      throw await this.#explained(error, revision ?? 0);
    }
  }

  /** etcd says that a revision is too old or too new; the contract says what there is. */
  async #explained(error: unknown, asked: number): Promise<unknown> {
    if (!(error instanceof StoreError)) return error;
    if (error.code === "future-revision") return futureRevisionError(asked, await this.revision());
    if (error.code === "compacted") return compactedError(asked, await this.#compactRevision());
    return error;
  }

  /** A watch from the beginning is refused with the revision that is asked here. */
  #compactRevision(): Promise<number> {
    return new Promise((resolve) => {
      const watch = new EtcdWatch(this.#connection, this.#space, this.#clock, 2, {
        revision: () => {
          watch.close();
          resolve(0);
        },
        compacted: (revision) => resolve(Math.max(0, revision - this.#identity.base)),
      });
    });
  }

  /** What this process has not been told yet must not be forgotten on its own demand. */
  async #untilTold(revision: number): Promise<void> {
    if (revision <= this.#told) return;
    const newest = await this.revision();
    if (revision > newest) throw futureRevisionError(revision, newest);
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimer(this.#options.answerTimeoutMs ?? defaultAnswerTimeoutMs, resolve);
      this.#waiters.push({ revision, resolve: () => (timer.cancel(), resolve()) });
    });
  }

  #follow(): EtcdWatch {
    const { base } = this.#identity;
    return new EtcdWatch(this.#connection, this.#space, this.#clock, this.#told + base + 1, {
      revision: (revision, events) => {
        if (this.#identityGone(events)) return;
        this.#told = revision - base;
        this.#hub.publish(this.#told, eventsOf(this.#space, this.#identity, events));
        if (this.#waiters.length > 0) this.#wake();
      },
      compacted: (revision) => void this.#startOver(compactedError(this.#told + 1, revision - base)),
    });
  }

  #wake(): void {
    for (const waiter of this.#waiters) if (waiter.revision <= this.#told) waiter.resolve();
    this.#waiters = this.#waiters.filter(({ revision }) => revision > this.#told);
  }

  /** This process was away for longer than history lasts: who watches must list again. */
  async #startOver(error: StoreError): Promise<void> {
    this.#logger.warn({ revision: this.#told }, "the watch of etcd fell behind what is kept; watches begin anew");
    this.#hub.endAll(error);
    try {
      this.#told = await this.revision();
      this.#upstream = this.#follow();
    } catch (failure) {
      if (this.#closed !== null || this.#failure !== null) return;
      this.#clock.setTimer(1000, () => void this.#startOver(error));
      this.#logger.warn({ error: String(failure) }, "etcd could not be asked for its revision; trying again");
    }
  }

  #replay(prefix: string, fromRevision: number, through: number, replay: Replay): EtcdWatch {
    const { base } = this.#identity;
    const finish = (): void => {
      this.#endReplay(past);
      replay.done(through);
    };
    const past = new EtcdWatch(this.#connection, this.#space, this.#clock, fromRevision + base, {
      revision: (at, found) => {
        const revision = at - base;
        if (revision <= through) {
          const events = eventsOf(this.#space, this.#identity, found).filter(({ entry }) => entry.key.startsWith(prefix));
          if (events.length > 0) replay.batch({ revision, events });
        }
        if (revision >= through) finish();
      },
      compacted: (revision) => {
        this.#endReplay(past);
        replay.failed(compactedError(fromRevision, revision - base));
      },
    });
    this.#replays.add(past);
    return past;
  }

  #endReplay(past: EtcdWatch): void {
    past.close();
    this.#replays.delete(past);
  }

  /** Where others write to the same etcd, revisions go by of which the watch tells nothing; after a change of our own it is clear. */
  async #mark(): Promise<void> {
    try {
      await this.#connection.write(methods.transact, {
        compare: [sameLife(this.#space, this.#identity)],
        success: [{ request_put: { key: this.#space.markKey, value: Buffer.alloc(0) } }],
        failure: [],
      });
    } catch (error) {
      this.#logger.debug({ error: String(error) }, "the mark was not put");
    }
  }

  #identityGone(
    events: readonly { readonly type: "PUT" | "DELETE"; readonly kv: { readonly key: Buffer; readonly mod_revision: string } }[],
  ): boolean {
    const gone = events.some(({ kv }) => kv.key.equals(this.#space.incarnationKey) && Number(kv.mod_revision) > this.#identity.changedAt);
    // A change that this process itself is making is told by its own answer.
    if (gone && (this.#options.purpose ?? "serve") === "serve") this.#lifeEnded();
    return gone && this.#failure !== null;
  }

  #lifeEnded(): StoreError {
    if (this.#failure !== null) return this.#failure;
    const failure = (this.#failure = lifeEndedError());
    this.#upstream.close();
    this.#hub.endAll(failure);
    this.#logger.error({ code: failure.code }, failure.message);
    this.#options.failed?.(failure);
    return failure;
  }
}

const isLease = (lease: string): boolean => /^[1-9]\d{0,18}$/.test(lease);

function namesNoLease(operation: TransactionInput["then"][number]): boolean {
  return "put" in operation && operation.lease !== undefined && !isLease(operation.lease);
}
