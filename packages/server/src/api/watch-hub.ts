/**
 * Tells watchers of `GET /watch` what changes. A change becomes JSON once, however many watch; watchers who see the same share one buffer a
 * flush. The last revisions are kept, so that a watcher who was cut off goes on where it was. Called by the raw route; reads the cache's
 * changes alone.
 */
import { SheafError, type AnyRecord, type Kind } from "@sheaf/model";
import type { Timer } from "@sheaf/base";
import type { RecordChange, ServerContext } from "../context.ts";
import { maySee, type Caller } from "../identity/rights.ts";
import type { Presenter } from "../records/present.ts";

export interface WatchFilter {
  readonly kind?: Kind | undefined;
  /** Id. */
  readonly project?: string | undefined;
  readonly id?: string | undefined;
}

/** Where events go. */
export interface WatchSink {
  write(bytes: Buffer): void;
  /** Bytes that the client has not taken yet. */
  readonly unread: number;
  close(): void;
}

interface KeptChange {
  readonly change: RecordChange;
  /** SSE frame without its id; made when the first watcher needs it. */
  changed: string | null;
  deleted: string | null;
}
interface KeptRevision {
  readonly revision: number;
  readonly changes: readonly KeptChange[];
}

interface Watcher {
  /** Who the client is now. @throws where it may not watch any more */
  readonly again: () => Caller;
  readonly filter: WatchFilter;
  readonly view: string;
  readonly sink: WatchSink;
  caller: Caller;
  /** Told up to this revision. */
  told: number;
}

/** Changes within this time are told together: what a storm of changes costs does not grow with watchers times changes. */
const flushMs = 5;
const heartbeatMs = 15_000;
const keptChanges = 20_000;

export class WatchHub {
  readonly #context: ServerContext;
  readonly #presenter: Presenter;
  readonly #watchers = new Set<Watcher>();
  #kept: KeptRevision[] = [];
  #keptCount = 0;
  /** Revisions up to this one are not kept. */
  #forgotten: number;
  #flush: Timer | null = null;
  #heartbeat: Timer | null = null;
  readonly #unsubscribe: () => void;

  constructor(context: ServerContext, presenter: Presenter) {
    this.#context = context;
    this.#presenter = presenter;
    this.#forgotten = context.cache.revision;
    this.#unsubscribe = context.cache.subscribe((revision, changes) => this.#keep(revision, changes));
    this.#beatLater();
  }

  get size(): number {
    return this.#watchers.size;
  }

  stop(): void {
    this.#unsubscribe();
    this.#flush?.cancel();
    this.#heartbeat?.cancel();
    for (const watcher of this.#watchers) this.#end(watcher, "the server is stopping: connect again");
  }

  /** @throws SheafError `compacted`: changes since `revision` are not kept any more; `throttled` */
  check(revision: number | undefined): void {
    if (this.#watchers.size >= this.#context.settings.limits.watchers)
      throw new SheafError("throttled", `This server has ${this.#watchers.size} watchers already.`, {
        next: "Come back later.",
        retryAfterMs: 10_000,
      });
    if (revision !== undefined && revision < this.#forgotten)
      throw new SheafError("compacted", `Changes since revision ${revision} are not kept any more; the oldest kept is ${this.#forgotten + 1}.`, {
        next: "List again, then watch from the list's revision.",
      });
  }

  /**
   * @param revision tell what came after it; absent: from now on
   * @param again who the client is now; throws when it may not watch any more
   * @returns the function that ends it
   */
  add(caller: Caller, filter: WatchFilter, revision: number | undefined, sink: WatchSink, again: () => Caller): () => void {
    this.check(revision);
    const { cache } = this.#context;
    const watcher: Watcher = {
      filter,
      view: `${filter.kind ?? ""} ${filter.project ?? ""} ${filter.id ?? ""}`,
      sink,
      caller,
      told: revision ?? cache.revision,
      again,
    };
    const past = this.#framesFor(watcher, watcher.told);
    sink.write(Buffer.from(`${past}${synced(cache.revision, this.#eventId(cache.revision))}`));
    watcher.told = Math.max(watcher.told, cache.revision);
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  #keep(revision: number, changes: readonly RecordChange[]): void {
    this.#kept.push({ revision, changes: changes.map((change) => ({ change, changed: null, deleted: null })) });
    this.#keptCount += changes.length;
    if (this.#keptCount > keptChanges * 1.25) this.#forget();
    if (this.#watchers.size > 0 && this.#flush === null)
      this.#flush = this.#context.clock.setTimer(flushMs, () => {
        this.#flush = null;
        this.#tell();
      });
  }

  #forget(): void {
    let drop = 0;
    while (this.#keptCount > keptChanges) {
      const oldest = this.#kept[drop];
      if (oldest === undefined) break;
      this.#keptCount -= oldest.changes.length;
      this.#forgotten = oldest.revision;
      drop += 1;
    }
    this.#kept = this.#kept.slice(drop);
  }

  #tell(): void {
    const newest = this.#context.cache.revision;
    // Watchers with the same rights, filter and place see the same bytes.
    const shared = new Map<unknown, Map<string, Buffer | null>>();
    for (const watcher of this.#watchers) {
      if (watcher.told >= newest) continue;
      let views = shared.get(watcher.caller.rights);
      if (views === undefined) shared.set(watcher.caller.rights, (views = new Map()));
      // A user sees tokens and tasks of its own.
      const view = `${watcher.view} ${watcher.told} ${watcher.caller.userId}`;
      let bytes = views.get(view);
      if (bytes === undefined) {
        const frames = this.#framesFor(watcher, watcher.told);
        bytes = frames === "" ? null : Buffer.from(frames);
        views.set(view, bytes);
      }
      watcher.told = newest;
      if (bytes !== null) this.#send(watcher, bytes);
    }
  }

  #send(watcher: Watcher, bytes: Buffer): void {
    if (watcher.sink.unread > this.#context.settings.limits.watcherBufferBytes) {
      this.#end(watcher, "you read too slowly: list again, then watch");
      return;
    }
    watcher.sink.write(bytes);
  }

  #end(watcher: Watcher, why: string): void {
    this.#watchers.delete(watcher);
    watcher.sink.write(Buffer.from(`event: closed\ndata: ${JSON.stringify({ reason: why })}\n\n`));
    watcher.sink.close();
  }

  /** Everything after a revision that the watcher may see. Only the last event of a revision has an id: whoever is cut off in between gets all of it again. */
  #framesFor(watcher: Watcher, after: number): string {
    let text = "";
    for (let index = this.#firstAfter(after); index < this.#kept.length; index += 1) {
      const kept = this.#kept[index];
      if (kept === undefined) break;
      const frames = kept.changes.flatMap((change) => this.#frame(watcher, kept.revision, change) ?? []);
      frames.forEach((frame, position) => {
        text += position === frames.length - 1 ? `id: ${this.#eventId(kept.revision)}\n${frame}` : frame;
      });
    }
    return text;
  }

  /** Revisions of different lives of the store say nothing about each other: an id names both. */
  #eventId(revision: number): string {
    return `${revision}.${this.#context.store.incarnation}`;
  }

  #firstAfter(revision: number): number {
    let low = 0;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#kept[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #frame({ filter, caller }: Watcher, revision: number, kept: KeptChange): string | null {
    const { kind, id, record, previous } = kept.change;
    if (filter.kind !== undefined && filter.kind !== kind) return null;
    if (filter.id !== undefined && filter.id !== id) return null;
    const sees = (one: RecordChange["record"]): boolean =>
      one !== undefined && (filter.project === undefined || one.project === filter.project) && maySee(caller, one as AnyRecord /* from the cache */);
    if (record !== undefined && sees(record)) {
      kept.changed ??= `event: change\ndata: {"type":"changed","kind":"${kind}","id":"${id}","revision":${revision},"record":${this.#presenter.text(record)}}\n\n`;
      return kept.changed;
    }
    if (!sees(previous)) return null;
    kept.deleted ??= `event: change\ndata: {"type":"deleted","kind":"${kind}","id":"${id}","revision":${revision}}\n\n`;
    return kept.deleted;
  }

  #beatLater(): void {
    this.#heartbeat = this.#context.clock.setTimer(heartbeatMs, () => {
      this.#beat();
      this.#beatLater();
    });
  }

  /** Moves watchers on where nothing of theirs happened, and ends those who may not watch any more. */
  #beat(): void {
    this.#tell();
    const { revision } = this.#context.cache;
    const beat = Buffer.from(`: alive\n\n${synced(revision, this.#eventId(revision))}`);
    for (const watcher of this.#watchers) {
      try {
        watcher.caller = watcher.again();
      } catch {
        this.#end(watcher, "your session has ended: sign in again");
        continue;
      }
      this.#send(watcher, beat);
    }
  }
}

const synced = (revision: number, id: string): string => `id: ${id}\nevent: synced\ndata: {"revision":${revision}}\n\n`;
