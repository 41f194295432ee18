/**
 * Reading as of an older revision: a view knows, for each key changed since its revision, what the key was then. A view is made
 * once from history and then carried along with each commit, so that the pages of one list cost no more than the first.
 * Called by the memory store and the SQLite worker with every change they commit.
 */
import { compareKeys } from "./key-order.ts";
import type { Change } from "./plan-transaction.ts";
import { storeLimits } from "./store.ts";
import type { Entry, RangeInput, RangeResult } from "./store.ts";

/** Keys changed since the view's revision, with their entries then; `null`: absent then. */
export type View = ReadonlyMap<string, Entry | null>;

const emptyView: View = new Map();
const maxViews = 8;
/** A view that has grown beyond this is dropped; who comes back for it pays for making it anew. */
const maxViewKeys = 100_000;

export class PinnedViews {
  /** By revision, least recently used first. */
  readonly #views = new Map<number, Map<string, Entry | null>>();

  /**
   * @param changesAfter every change with a revision above `revision`, oldest first
   */
  at(revision: number, newest: number, changesAfter: (revision: number) => Iterable<Change>): View {
    if (revision === newest && !this.#views.has(revision)) return emptyView;
    let view = this.#views.get(revision);
    if (view === undefined) {
      view = new Map();
      for (const change of changesAfter(revision)) if (!view.has(change.entry.key)) view.set(change.entry.key, change.previous);
    }
    this.#remember(revision, view);
    return view;
  }

  /** Keeps the view of the newest revision from now on: the next pages of a list will ask for it. */
  pin(revision: number): void {
    this.#remember(revision, this.#views.get(revision) ?? new Map());
  }

  /** To be called with each change before it can be read. */
  changed(change: Change): void {
    for (const [revision, view] of this.#views) {
      if (view.has(change.entry.key)) continue;
      view.set(change.entry.key, change.previous);
      if (view.size > maxViewKeys) this.#views.delete(revision);
    }
  }

  /** Drops the views of revisions that are compacted. */
  compacted(compactRevision: number): void {
    for (const revision of this.#views.keys()) if (revision < compactRevision) this.#views.delete(revision);
  }

  #remember(revision: number, view: Map<string, Entry | null>): void {
    this.#views.delete(revision);
    this.#views.set(revision, view);
    if (this.#views.size <= maxViews) return;
    const oldest = this.#views.keys().next();
    if (!oldest.done) this.#views.delete(oldest.value);
  }
}

/**
 * One page as of a view.
 * @param newest the newest entries under the prefix and after `after`, in order; read only as far as needed
 */
export function readPage(input: RangeInput, revision: number, view: View, newest: Iterable<Entry>): RangeResult {
  const limit = input.limit ?? storeLimits.pageEntries;
  const entries: Entry[] = [];
  let bytes = 0;
  for (const entry of asOf(view, input, newest)) {
    if (entries.length === limit || bytes >= storeLimits.pageBytes) return { entries, revision, more: true };
    entries.push(entry);
    bytes += entry.key.length + entry.value.length;
  }
  return { entries, revision, more: false };
}

/** Merges the newest entries that have not changed since with those of the view. */
function* asOf(view: View, input: RangeInput, newest: Iterable<Entry>): Generator<Entry, void, undefined> {
  if (view.size === 0) return yield* newest;
  const { prefix, after } = input;
  const then: Entry[] = [];
  for (const [key, entry] of view)
    if (entry !== null && key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0)) then.push(entry);
  then.sort((left, right) => compareKeys(left.key, right.key));
  let index = 0;
  for (const entry of newest) {
    if (view.has(entry.key)) continue;
    for (let next = then[index]; next !== undefined && compareKeys(next.key, entry.key) < 0; next = then[index]) {
      yield next;
      index += 1;
    }
    yield entry;
  }
  yield* then.slice(index);
}
