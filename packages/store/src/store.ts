/**
 * The store's contract: etcd's model with etcd's limits, so that a site may move to etcd. Keys have revisions, transactions compare and set
 * several keys at once, lists can be pinned to a revision, watches resume from one, history is bounded.
 *
 * Called by the cache, the API and the controllers; implemented by `memory.ts` and `sqlite.ts`, both held to `testing/conformance.ts`.
 * Nothing here may know what a key or a value means.
 */

/** One key at one revision. Revisions count the store's transactions that changed something; the first is 1. */
export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Revision at which the key came into being (again). */
  readonly createRevision: number;
  /** Revision of the last put. */
  readonly modRevision: number;
  /** Puts since creation, from 1. */
  readonly version: number;
  /** The lease the key goes away with, or `null`. */
  readonly lease: string | null;
}

/** One condition on one key, all for equality. `createRevision: 0` and `modRevision: 0` mean: the key is absent. */
export type Compare = { readonly key: string } & (
  | { readonly modRevision: number }
  | { readonly createRevision: number }
  | { readonly value: string }
);

export type Operation =
  /** `put` names the key. Without `lease` the key belongs to no lease afterwards, whatever it had before. */
  | { readonly put: string; readonly value: string; readonly lease?: string }
  | { readonly delete: string }
  /** Deletes every key that starts with this non-empty text; counts as one operation. */
  | { readonly deletePrefix: string };

export interface TransactionInput {
  /** At most 100. All must hold for `then`; otherwise `else` (or nothing) is done. A key may be compared more than once. */
  readonly compare: readonly Compare[];
  /** At most 100. No key may be touched twice in one branch, by prefix neither. */
  readonly then: readonly Operation[];
  readonly else?: readonly Operation[];
}

export interface TransactionResult {
  /** Whether all conditions held. */
  readonly succeeded: boolean;
  /** The store's revision after the transaction: its own if it changed anything, else the one it looked at. */
  readonly revision: number;
  /** On failure: the compared keys as they were looked at, `null` where absent. On success: empty. */
  readonly current: ReadonlyMap<string, Entry | null>;
}

export type WatchEvent =
  | { readonly type: "put"; readonly entry: Entry }
  /** `entry` has the key, `modRevision` = the deletion's revision, an empty value, `createRevision` and `version` 0, no lease. */
  | { readonly type: "delete"; readonly entry: Entry };

/** All events of one transaction under the watched prefix: one revision, one batch. A key is in it at most once. */
export interface WatchBatch {
  readonly revision: number;
  readonly events: readonly WatchEvent[];
}

/** Neither may throw: a handler that does ends its watch with `watch-failed`. */
export interface WatchHandlers {
  /** In order of revision, none left out, none twice. Only what is durable is told. */
  events(batch: WatchBatch): void;
  /**
   * Everything up to this revision has been told, although the newest of it changed nothing under the prefix. Revisions between may
   * be passed over. For those who wait until they have seen a revision.
   */
  progress?(revision: number): void;
  /** At most once, and the last call; not called after `close`. Go on by listing again and watching from there. */
  ended(error: StoreError): void;
}

export interface Watch {
  /** No handler is called after this. */
  close(): void;
}

export interface RangeInput {
  /** Empty: all keys. */
  readonly prefix: string;
  /** Only keys after this one: the last key of the page before. */
  readonly after?: string;
  /** 1 … 1,000; 1,000 by default. */
  readonly limit?: number;
  /** As of this revision; by default the newest. Pages of one list use the first page's `revision`. */
  readonly revision?: number;
}

export interface RangeResult {
  /** By key, in order of code points. May be fewer than `limit` although `more` is set: big values make short pages. */
  readonly entries: readonly Entry[];
  /** The revision these entries stand at. */
  readonly revision: number;
  readonly more: boolean;
}

export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
}

export interface Store {
  /** Changes when a backup is restored or the data is moved: revisions of different incarnations say nothing about each other. */
  readonly incarnation: string;

  /** @throws StoreError `compacted`, `future-revision`, `unavailable`, `closed`, `corrupt` */
  get(key: string, options?: { readonly revision?: number }): Promise<Entry | null>;

  /** @throws as `get` */
  range(input: RangeInput): Promise<RangeResult>;

  /**
   * Atomic, durable when it resolves.
   * @throws StoreError `uncertain`: perhaps committed; look before repeating. All others: certainly not committed:
   *   `invalid`, `too-large`, `too-many-operations`, `duplicate-key`, `lease-expired`, `full`, `unavailable`, `corrupt`, `closed`
   */
  transact(input: TransactionInput): Promise<TransactionResult>;

  /**
   * Events from `fromRevision` (inclusive, ≥ 1; may lie in the future) on. After a list at revision R watch from R + 1.
   * A revision before the compaction ends the watch with `compacted`.
   */
  watch(input: { readonly prefix: string; readonly fromRevision: number }, handlers: WatchHandlers): Watch;

  /** @param ttlMs 1,000 … 86,400,000. After a restart of the store every lease has its whole time again. */
  grantLease(ttlMs: number): Promise<Lease>;
  /** Gives the lease its whole time again. @throws StoreError `lease-expired` when it is gone: its keys are deleted then, or about to be. */
  keepAlive(lease: string): Promise<void>;
  /** Deletes the lease's keys in one revision. Revoking what is gone is no error. */
  revokeLease(lease: string): Promise<void>;

  /** Forgets what was before `revision`: reads before it and watches from before it fail with `compacted`. */
  compact(revision: number): Promise<void>;
  /** The newest revision; 0 in an empty store. */
  revision(): Promise<number>;
  /** Ends every watch with `closed` and lets go of the data. What is under way is finished first. */
  close(): Promise<void>;
}

/** A store that outlives the process, and can be copied. */
export interface DurableStore extends Store {
  /**
   * Writes a consistent copy while the store goes on working; `path` appears only when it is whole.
   * @throws StoreError `invalid` where something is there already, `unavailable` where it cannot be written
   */
  backup(path: string): Promise<{ readonly revision: number; readonly bytes: number }>;
  /** The lease's whole time in ms, not what is left of it; `null`: it is gone. */
  leaseTime(lease: string): Promise<number | null>;
}

export const storeLimits = {
  /** Conditions, and operations in each branch. */
  operations: 100,
  /** UTF-8. */
  valueBytes: 256 * 1024,
  keyBytes: 1024,
  /** Keys and values of one transaction together: etcd refuses requests above 1.5 MiB. */
  transactionBytes: 1024 * 1024,
  pageEntries: 1000,
  /** A page ends early when its values pass this. */
  pageBytes: 4 * 1024 * 1024,
  leaseMinMs: 1000,
  leaseMaxMs: 86_400_000,
} as const;

export type StoreErrorCode =
  | "uncertain" // timed out or failed at the commit: perhaps committed
  | "unavailable" // not committed; the store may be back soon
  | "compacted" // the revision asked for is forgotten
  | "future-revision" // the revision asked for is not there yet
  | "invalid" // malformed key, limit, revision or time
  | "too-large" // key, value or transaction
  | "too-many-operations"
  | "duplicate-key" // one key touched twice in one transaction
  | "lease-expired"
  | "full" // no space left: reads go on, writes are refused
  | "corrupt" // what is stored cannot be trusted
  | "locked" // another process has the data open
  | "newer-schema" // written by a newer version
  | "watch-failed" // the watch's own handler threw
  | "closed";

export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;
  /** With `compacted`: the oldest revision that can still be read. */
  readonly compactRevision: number | null;

  constructor(code: StoreErrorCode, message: string, options: { cause?: unknown; compactRevision?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.compactRevision = options.compactRevision ?? null;
  }
}
