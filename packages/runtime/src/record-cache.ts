/**
 * Every record in memory, at a stated revision: one list at the start, one watch afterwards. API, gateway, controllers and the
 * scheduler read from here; nobody else reads records from the store. Records handed out are never changed in place.
 * Cost: O(1) for each part that changes.
 */
import type { Clock, Logger } from "@sheaf/base";
import { isProjectKind, kinds, parsePartKey, partKey, recordsPrefix, SheafError, type Kind, type RecordOf } from "@sheaf/model";
import { StoreError, type Entry, type RangeResult, type Store, type Watch, type WatchBatch } from "@sheaf/store";
import { ofParts, visible, withOnly, withoutPart, withPart, type Members, type StoredRecord } from "./assemble.ts";

/** One record that changed. `record` is absent when it is gone for good, `previous` when it is new. */
export interface RecordChange {
  readonly kind: Kind;
  readonly id: string;
  readonly record?: StoredRecord;
  readonly previous?: StoredRecord;
}
export type ChangeListener = (revision: number, changes: readonly RecordChange[]) => void;

/** Scope of a name: the project's id, or `-` for kinds above projects. */
export const nameScope = (record: StoredRecord): string => (isProjectKind(record.kind) ? (record.project ?? "-") : "-");

/** One record of a list, with its listed parts. */
interface Group {
  readonly kind: Kind;
  readonly id: string;
  readonly parts: Map<string, Entry>;
}

interface Found {
  readonly kind: Kind;
  readonly id: string;
  readonly members: Members | undefined;
}

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
}

export interface RecordCacheOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
}

const retryMs = 200;

export class RecordCache {
  readonly #options: RecordCacheOptions;
  readonly #records: ReadonlyMap<Kind, Map<string, Members>> = new Map(kinds.map((kind) => [kind, new Map()]));
  readonly #shown: ReadonlyMap<Kind, Map<string, StoredRecord>> = new Map(kinds.map((kind) => [kind, new Map()]));
  readonly #names = new Map<string, string>();
  readonly #listeners = new Set<ChangeListener>();
  #waiters: Waiter[] = [];
  #watch: Watch | undefined;
  #revision = 0;
  #closed = false;

  private constructor(options: RecordCacheOptions) {
    this.#options = options;
  }

  /** @returns when everything has been read. @throws StoreError where the store cannot be read */
  static async open(options: RecordCacheOptions): Promise<RecordCache> {
    const cache = new RecordCache(options);
    await cache.#load();
    return cache;
  }

  /** Newest revision of the store that this cache has seen. */
  get revision(): number {
    return this.#revision;
  }

  get<K extends Kind>(kind: K, id: string): RecordOf<K> | undefined {
    return this.#shown.get(kind)?.get(id) as RecordOf<K> | undefined; // kept by kind
  }

  byName<K extends Kind>(kind: K, scope: string, name: string): RecordOf<K> | undefined {
    const id = this.#names.get(`${kind}/${scope}/${name}`);
    return id === undefined ? undefined : this.get(kind, id);
  }

  /** In order of creation as this cache saw it. Must not be kept across an `await`. */
  all<K extends Kind>(kind: K): Iterable<RecordOf<K>> {
    return (this.#shown.get(kind)?.values() ?? []) as Iterable<RecordOf<K>>; // kept by kind
  }

  count(kind: Kind): number {
    return this.#shown.get(kind)?.size ?? 0;
  }

  /** All changes of one revision at once, in order of revision. @returns the function that ends the subscription */
  subscribe(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves once the cache has seen that revision. @throws SheafError `timed-out` */
  waitFor(revision: number, timeoutMs = 30_000): Promise<void> {
    if (revision <= this.#revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        revision,
        resolve: () => {
          timer.cancel();
          resolve();
        },
      };
      const timer = this.#options.clock.setTimer(timeoutMs, () => {
        this.#waiters = this.#waiters.filter((each) => each !== waiter);
        reject(
          new SheafError("timed-out", `This server has not seen revision ${revision} within ${timeoutMs / 1000} s; it is at ${this.#revision}.`, {
            next: "Ask again, or without the revision.",
          }),
        );
      });
      this.#waiters.push(waiter);
    });
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
  }

  /** Reads everything at one revision; after a gap in the watch the differences are told as changes, all at once. */
  async #load(): Promise<void> {
    const { store } = this.#options;
    const known = this.#revision;
    const found: Found[] = [];
    const listed: ReadonlyMap<Kind, Set<string>> = new Map(kinds.map((kind) => [kind, new Set()]));
    // Keys are in order: the parts of one record follow each other.
    let group: Group | undefined;
    const endGroup = (revision: number): void => {
      if (group === undefined) return;
      listed.get(group.kind)?.add(group.id);
      const members = this.#regroup(group, known, revision);
      if (members !== this.#records.get(group.kind)?.get(group.id)) found.push({ kind: group.kind, id: group.id, members });
    };
    const first = await store.range({ prefix: recordsPrefix });
    const { revision } = first;
    for (let page: RangeResult | null = first; page !== null;) {
      const after: string | undefined = page.entries.at(-1)?.key;
      // The store reads the next page while this one is taken in.
      const next: Promise<RangeResult> | null = page.more && after !== undefined ? store.range({ prefix: recordsPrefix, after, revision }) : null;
      for (const entry of page.entries) {
        const place = parsePartKey(entry.key);
        if (!place || !listed.has(place.kind)) continue;
        if (place.id !== group?.id || place.kind !== group.kind) {
          endGroup(revision);
          group = { kind: place.kind, id: place.id, parts: new Map() };
        }
        group.parts.set(place.part, entry);
      }
      page = await next;
    }
    endGroup(revision);
    if (this.#closed) return;
    const changes: RecordChange[] = [];
    for (const [kind, records] of this.#records) {
      for (const id of records.keys()) if (!listed.get(kind)?.has(id)) this.#keep(kind, id, undefined, changes);
    }
    for (const { kind, id, members } of found) this.#keep(kind, id, members, changes);
    this.#advance(revision, changes);
    this.#follow();
  }

  /** Brings one record up to date with its listed parts; those that have not changed since `known` are not read again. */
  #regroup({ kind, id, parts }: Group, known: number, revision: number): Members | undefined {
    const before = this.#records.get(kind)?.get(id);
    if (before === undefined) return ofParts(parts, (part) => this.#unreadable(partKey(kind, id, part)));
    let members = withOnly(before, new Set(parts.keys()), revision);
    for (const [part, entry] of parts) {
      if (entry.modRevision <= known) continue;
      const next = withPart(members, part, entry.value, entry.modRevision);
      if (next) members = { ...next, revision: Math.max(entry.modRevision, members?.revision ?? 0) };
      else this.#unreadable(entry.key);
    }
    return members;
  }

  #unreadable(key: string): void {
    this.#options.logger.error({ key }, "a part of a record cannot be read; it is left out");
  }

  #follow(): void {
    if (this.#closed) return;
    this.#watch = this.#options.store.watch(
      { prefix: recordsPrefix, fromRevision: this.#revision + 1 },
      {
        events: (batch) => this.#apply(batch),
        // Transactions that touch no record move the revision too, else `waitFor` would hang on them.
        progress: (revision) => this.#advance(revision, []),
        ended: (error) => this.#again(error),
      },
    );
  }

  #again(error: StoreError): void {
    if (this.#closed || error.code === "closed") return;
    this.#options.logger.warn({ code: error.code, revision: this.#revision }, "the watch of the records ended; it is taken up again");
    this.#options.clock.setTimer(retryMs, () => void this.#resume(error));
  }

  /** Goes on where the watch ended; lists only where the store has forgotten what was between. */
  async #resume(ended: StoreError): Promise<void> {
    if (this.#closed) return;
    try {
      if (ended.code === "compacted" || ended.code === "watch-failed" || ended.code === "future-revision") await this.#load();
      else this.#follow();
    } catch (error) {
      // A list that was overtaken by compaction, or a store still away: whatever it was, what is needed has not changed.
      const reason = error instanceof StoreError ? error : new StoreError("unavailable", String(error), { cause: error });
      this.#again(reason.code === "closed" ? reason : ended);
    }
  }

  #apply(batch: WatchBatch): void {
    const changes: RecordChange[] = [];
    // Parts of one record in one transaction are one change.
    const touched = new Map<string, { readonly kind: Kind; readonly id: string; members: Members | undefined }>();
    for (const { type, entry } of batch.events) {
      const place = parsePartKey(entry.key);
      if (!place) continue;
      const at = `${place.kind}/${place.id}`;
      let found = touched.get(at);
      if (!found) touched.set(at, (found = { kind: place.kind, id: place.id, members: this.#records.get(place.kind)?.get(place.id) }));
      if (type === "delete") found.members = found.members && withoutPart(found.members, place.part, batch.revision);
      else {
        const members = withPart(found.members, place.part, entry.value, batch.revision);
        if (members) found.members = members;
        else this.#unreadable(entry.key);
      }
    }
    for (const { kind, id, members } of touched.values()) this.#keep(kind, id, members, changes);
    this.#advance(batch.revision, changes);
  }

  #keep(kind: Kind, id: string, members: Members | undefined, changes: RecordChange[]): void {
    const shown = this.#shown.get(kind);
    const previous = shown?.get(id);
    const record = visible(members);
    if (members) this.#records.get(kind)?.set(id, members);
    else this.#records.get(kind)?.delete(id);
    if (previous && (!record || previous.name !== record.name || previous.project !== record.project)) {
      const key = `${kind}/${nameScope(previous)}/${previous.name}`;
      if (this.#names.get(key) === id) this.#names.delete(key);
    }
    if (record) {
      shown?.set(id, record);
      this.#names.set(`${kind}/${nameScope(record)}/${record.name}`, id);
    } else shown?.delete(id);
    if (record || previous) changes.push({ kind, id, ...(record ? { record } : {}), ...(previous ? { previous } : {}) });
  }

  #advance(revision: number, changes: readonly RecordChange[]): void {
    this.#revision = Math.max(this.#revision, revision);
    if (changes.length > 0) {
      for (const listener of this.#listeners) {
        try {
          listener(revision, changes);
        } catch (error) {
          this.#options.logger.error({ error: String(error), revision }, "a listener of the cache failed; the others go on");
        }
      }
    }
    if (this.#waiters.length === 0) return;
    const ready = this.#waiters.filter((waiter) => waiter.revision <= this.#revision);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > this.#revision);
    for (const waiter of ready) waiter.resolve();
  }
}
