/**
 * The store in memory: for the simulator and for tests. Same semantics as the durable ones, held to the same conformance suite.
 * Never used where anything must survive the process.
 */
import { SortedList, uuidv7 } from "@sheaf/base";
import type { Clock, Random } from "@sheaf/base";
import { compareKeys } from "./key-order.ts";
import { LeaseClock } from "./lease-clock.ts";
import { PinnedViews, readPage } from "./pinned-views.ts";
import { planDelete, planTransaction } from "./plan-transaction.ts";
import type { Change, Look } from "./plan-transaction.ts";
import type { Entry, Lease, RangeInput, RangeResult, Store, TransactionInput, TransactionResult, Watch, WatchHandlers } from "./store.ts";
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
} from "./validation.ts";
import { eventsUnder, WatchHub } from "./watch-hub.ts";

export interface MemoryStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Revisions kept for watches and pinned reads; older ones are compacted. Default 100,000. */
  readonly historyRevisions?: number;
}

interface Commit {
  readonly revision: number;
  readonly changes: readonly Change[];
}

export function openMemoryStore(options: MemoryStoreOptions): Promise<Store> {
  return Promise.resolve(new MemoryStore(options));
}

class MemoryStore implements Store {
  readonly incarnation: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #historyRevisions: number;
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new SortedList<string>(compareKeys);
  readonly #keysOfLease = new Map<string, Set<string>>();
  readonly #leases: LeaseClock;
  readonly #hub = new WatchHub();
  readonly #views = new PinnedViews();
  readonly #look: Look;
  #history: Commit[] = [];
  #revision = 0;
  #compactRevision = 0;
  #open = true;

  constructor({ clock, random, historyRevisions = 100_000 }: MemoryStoreOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#historyRevisions = historyRevisions;
    this.incarnation = uuidv7(clock.now(), random);
    this.#leases = new LeaseClock(clock, (lease) => this.#dropLease(lease));
    this.#look = {
      get: (key) => this.#entries.get(key) ?? null,
      under: (prefix) => this.#under(prefix),
      hasLease: (lease) => this.#leases.alive(lease),
    };
  }

  async get(key: string, { revision }: { readonly revision?: number } = {}): Promise<Entry | null> {
    this.#assertOpen();
    if (revision === undefined) return this.#entries.get(key) ?? null;
    checkReadRevision(revision);
    const then = this.#viewAt(revision).get(key);
    return then === undefined ? (this.#entries.get(key) ?? null) : then;
  }

  async range(input: RangeInput): Promise<RangeResult> {
    this.#assertOpen();
    checkRange(input);
    const revision = input.revision ?? this.#revision;
    const view = this.#viewAt(revision);
    const page = readPage(input, revision, view, this.#under(input.prefix, input.after));
    if (page.more && revision === this.#revision) this.#views.pin(revision);
    return page;
  }

  async transact(input: TransactionInput): Promise<TransactionResult> {
    this.#assertOpen();
    checkTransaction(input);
    const { succeeded, changes, current } = planTransaction(input, this.#revision + 1, this.#look);
    this.#commit(changes);
    return { succeeded, revision: this.#revision, current };
  }

  watch({ prefix, fromRevision }: { readonly prefix: string; readonly fromRevision: number }, handlers: WatchHandlers): Watch {
    this.#assertOpen();
    checkFromRevision(fromRevision);
    const { watch, replay } = this.#hub.add(prefix, fromRevision, handlers);
    if (fromRevision <= this.#compactRevision) {
      replay.failed(compactedError(fromRevision, this.#compactRevision));
      return watch;
    }
    for (const { revision, changes } of this.#commitsFrom(fromRevision)) {
      const events = eventsUnder(prefix, changes);
      if (events.length > 0) replay.batch({ revision, events });
    }
    replay.done(this.#revision);
    return watch;
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    this.#assertOpen();
    checkLeaseTime(ttlMs);
    const id = uuidv7(this.#clock.now(), this.#random);
    this.#leases.start(id, ttlMs);
    return { id, ttlMs };
  }

  async keepAlive(lease: string): Promise<void> {
    this.#assertOpen();
    if (!this.#leases.alive(lease)) throw leaseExpiredError(lease);
    this.#leases.keepAlive(lease);
  }

  async revokeLease(lease: string): Promise<void> {
    this.#assertOpen();
    if (this.#leases.stop(lease)) this.#dropLease(lease);
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen();
    checkReadRevision(revision);
    if (revision > this.#revision) throw futureRevisionError(revision, this.#revision);
    this.#compactTo(revision);
  }

  async revision(): Promise<number> {
    this.#assertOpen();
    return this.#revision;
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#leases.close();
    this.#hub.close();
  }

  #assertOpen(): void {
    if (!this.#open) throw closedError();
  }

  #commit(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    this.#revision += 1;
    for (const change of changes) this.#apply(change);
    this.#history.push({ revision: this.#revision, changes });
    // A little at a time would copy the array at each commit.
    if (this.#history.length > this.#historyRevisions * 1.25) this.#compactTo(this.#revision - this.#historyRevisions);
    this.#hub.publish(this.#revision, changes);
  }

  #apply(change: Change): void {
    this.#views.changed(change);
    const { entry, previous } = change;
    if (previous !== null && previous.lease !== null) this.#keysOfLease.get(previous.lease)?.delete(entry.key);
    if (change.type === "delete") {
      this.#entries.delete(entry.key);
      this.#keys.remove(entry.key);
      return;
    }
    if (previous === null) this.#keys.add(entry.key);
    this.#entries.set(entry.key, entry);
    if (entry.lease === null) return;
    const keys = this.#keysOfLease.get(entry.lease);
    if (keys === undefined) this.#keysOfLease.set(entry.lease, new Set([entry.key]));
    else keys.add(entry.key);
  }

  /** Deletes what the lease held; the lease itself is gone already. */
  #dropLease(lease: string): void {
    const keys = [...(this.#keysOfLease.get(lease) ?? [])].sort(compareKeys);
    this.#keysOfLease.delete(lease);
    const revision = this.#revision + 1;
    this.#commit(keys.flatMap((key) => this.#entries.get(key) ?? []).map((entry) => planDelete(entry, revision)));
  }

  #compactTo(revision: number): void {
    if (revision <= this.#compactRevision) return;
    this.#compactRevision = revision;
    this.#history = this.#history.filter((commit) => commit.revision > revision);
    this.#views.compacted(revision);
  }

  #viewAt(revision: number): ReadonlyMap<string, Entry | null> {
    if (revision > this.#revision) throw futureRevisionError(revision, this.#revision);
    if (revision < this.#compactRevision) throw compactedError(revision, this.#compactRevision);
    return this.#views.at(revision, this.#revision, (after) => this.#commitsFrom(after + 1).flatMap((commit) => [...commit.changes]));
  }

  /** Every revision has one commit, so the place in the array follows from the number. */
  #commitsFrom(revision: number): Commit[] {
    const first = this.#history[0];
    return first === undefined ? [] : this.#history.slice(Math.max(0, revision - first.revision));
  }

  *#under(prefix: string, after?: string): Generator<Entry, void, undefined> {
    const start = after !== undefined && compareKeys(after, prefix) > 0 ? after : prefix;
    for (const key of this.#keys.from((item) => compareKeys(item, start))) {
      if (!key.startsWith(prefix)) {
        if (compareKeys(key, prefix) > 0) return;
        continue;
      }
      const entry = this.#entries.get(key);
      if (key !== after && entry !== undefined) yield entry;
    }
  }
}
