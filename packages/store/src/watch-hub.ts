/**
 * Hands committed changes to watchers, each in order and on its own: a watcher that throws ends its own watch only.
 * Called by the backends; knows nothing of how history is kept. Handlers are called from a microtask, never from within the call
 * that commits, so that a handler may call the store.
 */
import { StoreError } from "./store.ts";
import type { Watch, WatchBatch, WatchEvent, WatchHandlers } from "./store.ts";
import { closedError } from "./validation.ts";

interface Watcher {
  readonly prefix: string;
  readonly handlers: WatchHandlers;
  /** Batches below are not for this watcher: asked for later, or replayed already. */
  nextRevision: number;
  /** Live batches wait here while the past is being replayed. `null`: deliver at once. */
  held: WatchBatch[] | null;
  queue: WatchBatch[];
  /** What is told up to here once the queue is empty. */
  toldThrough: number;
  progressedThrough: number;
  scheduled: boolean;
  end: StoreError | null;
  open: boolean;
}

/** Feeds one watcher its past. Every call is ignored once the watch is closed. */
export interface Replay {
  batch(batch: WatchBatch): void;
  /** The past is told up to this revision; live batches go on from there. */
  done(throughRevision: number): void;
  failed(error: StoreError): void;
}

export class WatchHub {
  readonly #watchers = new Set<Watcher>();

  get size(): number {
    return this.#watchers.size;
  }

  /** Registers a watcher that holds back live batches until `replay` is done. */
  add(prefix: string, fromRevision: number, handlers: WatchHandlers): { watch: Watch; replay: Replay } {
    const watcher: Watcher = {
      prefix,
      handlers,
      nextRevision: fromRevision,
      held: [],
      queue: [],
      toldThrough: 0,
      progressedThrough: 0,
      scheduled: false,
      end: null,
      open: true,
    };
    this.#watchers.add(watcher);
    return {
      watch: {
        close: () => {
          watcher.open = false;
          this.#watchers.delete(watcher);
        },
      },
      replay: {
        batch: (batch) => this.#enqueue(watcher, batch),
        done: (throughRevision) => {
          watcher.nextRevision = Math.max(watcher.nextRevision, throughRevision + 1);
          const held = watcher.held ?? [];
          watcher.held = null;
          for (const batch of held) this.#enqueue(watcher, batch);
          this.#progress(watcher, throughRevision);
        },
        failed: (error) => this.#end(watcher, error),
      },
    };
  }

  /** Tells what one transaction changed. Revisions only grow. */
  publish(revision: number, changes: readonly WatchEvent[]): void {
    for (const watcher of this.#watchers) {
      if (revision < watcher.nextRevision) continue;
      const events = eventsUnder(watcher.prefix, changes);
      if (watcher.held !== null) watcher.held.push({ revision, events });
      else if (events.length > 0) this.#enqueue(watcher, { revision, events });
      else this.#progress(watcher, revision);
    }
  }

  /** Ends every watch after what has been published. */
  endAll(error: StoreError): void {
    for (const watcher of this.#watchers) this.#end(watcher, error);
  }

  close(): void {
    this.endAll(closedError());
  }

  #enqueue(watcher: Watcher, batch: WatchBatch): void {
    if (batch.revision < watcher.nextRevision) return;
    watcher.nextRevision = batch.revision + 1;
    if (batch.events.length === 0) return this.#progress(watcher, batch.revision);
    watcher.toldThrough = watcher.progressedThrough = batch.revision;
    watcher.queue.push(batch);
    this.#schedule(watcher);
  }

  #progress(watcher: Watcher, revision: number): void {
    if (watcher.handlers.progress === undefined || revision <= watcher.toldThrough) return;
    watcher.toldThrough = revision;
    this.#schedule(watcher);
  }

  #end(watcher: Watcher, error: StoreError): void {
    watcher.end ??= error;
    this.#watchers.delete(watcher);
    this.#schedule(watcher);
  }

  #schedule(watcher: Watcher): void {
    if (watcher.scheduled || !watcher.open) return;
    watcher.scheduled = true;
    queueMicrotask(() => this.#deliver(watcher));
  }

  #deliver(watcher: Watcher): void {
    watcher.scheduled = false;
    const batches = watcher.queue;
    watcher.queue = [];
    try {
      for (const batch of batches) {
        if (!watcher.open) return;
        watcher.handlers.events(batch);
      }
      if (watcher.open && watcher.toldThrough > watcher.progressedThrough) {
        watcher.progressedThrough = watcher.toldThrough;
        watcher.handlers.progress?.(watcher.toldThrough);
      }
    } catch (cause) {
      watcher.end = new StoreError("watch-failed", `the handler of the watch on "${watcher.prefix}" threw`, { cause });
      this.#watchers.delete(watcher);
    }
    if (watcher.end === null || !watcher.open) return;
    watcher.open = false;
    watcher.handlers.ended(watcher.end);
  }
}

/** Copies: what history keeps beside an event is none of a watcher's business. */
export function eventsUnder(prefix: string, changes: readonly WatchEvent[]): WatchEvent[] {
  const events: WatchEvent[] = [];
  for (const { type, entry } of changes) if (entry.key.startsWith(prefix)) events.push({ type, entry });
  return events;
}
