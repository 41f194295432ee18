/**
 * Follows the store from below, as nobody in the product can: every commit of the memory store, part by part, with what was there before.
 * Feeds the checks and the narrator. O(changed) a commit.
 */
import { type Kind, parsePartKey } from "@sheaf/model";
import type { Store, Watch, WatchBatch } from "@sheaf/store";

// oxlint-disable-next-line no-explicit-any -- parts of every kind, read by checks that know which they look at
export type Part = any;

export interface PartChange {
  readonly kind: Kind;
  readonly id: string;
  readonly part: string;
  /** `undefined`: gone. */
  readonly now: Part | undefined;
  readonly before: Part | undefined;
}

export interface Commit {
  readonly revision: number;
  readonly parts: readonly PartChange[];
  /** Keys of audit entries that were put, with the entry and how often its key was put. */
  readonly audit: readonly { readonly key: string; readonly entry: Part; readonly version: number }[];
  /** No change that anybody made: a backup took the place of what was there. */
  readonly restored?: true;
}

export class RecordsWatch {
  readonly #parts = new Map<string, Map<string, Part>>();
  /** Of the records that are there, in the order in which they came. */
  readonly #ids = new Map<Kind, Set<string>>();
  readonly #listeners: ((commit: Commit) => void)[] = [];

  #watch: Watch | null = null;

  constructor(store: Store) {
    this.#follow(store, 1);
  }

  /** From now on another store is the truth, which holds what stands at this revision. */
  restored(store: Store, revision: number, entries: readonly { readonly key: string; readonly value: string }[]): void {
    this.#watch?.close();
    const before = new Map(this.#parts);
    this.#parts.clear();
    this.#ids.clear();
    for (const { key, value } of entries) {
      const parsed = parsePartKey(key);
      if (!parsed) continue;
      const record = `${parsed.kind}/${parsed.id}`;
      const known = this.#parts.get(record) ?? new Map<string, Part>();
      this.#parts.set(record, known.set(parsed.part, JSON.parse(value)));
      this.#noteId(parsed.kind, parsed.id);
    }
    const parts: PartChange[] = [];
    for (const record of new Set([...before.keys(), ...this.#parts.keys()])) {
      const [kind = "vm", id = ""] = record.split("/") as [Kind, string]; // as they were made
      for (const part of new Set([...(before.get(record)?.keys() ?? []), ...(this.#parts.get(record)?.keys() ?? [])]))
        parts.push({ kind, id, part, before: before.get(record)?.get(part), now: this.#parts.get(record)?.get(part) });
    }
    for (const listener of this.#listeners) listener({ revision, parts, audit: [], restored: true });
    this.#follow(store, revision + 1);
  }

  #noteId(kind: Kind, id: string): void {
    const ids = this.#ids.get(kind);
    if (ids) ids.add(id);
    else this.#ids.set(kind, new Set([id]));
  }

  #follow(store: Store, fromRevision: number): void {
    this.#watch = store.watch(
      { prefix: "", fromRevision },
      {
        events: (batch) => this.#take(batch),
        ended: (error) => {
          throw new Error(`the watch below the store ended: ${error.message}`);
        },
      },
    );
  }

  subscribe(listener: (commit: Commit) => void): void {
    this.#listeners.push(listener);
  }

  /** @param part `spec`, `placement`, `status/agent` … */
  part(kind: Kind, id: string, part: string): Part | undefined {
    return this.#parts.get(`${kind}/${id}`)?.get(part);
  }

  *ids(kind: Kind): Generator<string> {
    yield* this.#ids.get(kind) ?? [];
  }

  /** The name of a record, or its id where it is gone. */
  name(kind: Kind, id: string): string {
    return this.part(kind, id, "spec")?.name ?? this.#names.get(id) ?? id;
  }

  byName(kind: Kind, name: string): string | null {
    for (const id of this.ids(kind)) if (this.part(kind, id, "spec")?.name === name) return id;
    return null;
  }

  /** Names outlive records: a story still tells of them. */
  readonly #names = new Map<string, string>();

  #take({ revision, events }: WatchBatch): void {
    const parts: PartChange[] = [];
    const audit: { key: string; entry: Part; version: number }[] = [];
    for (const { type, entry } of events) {
      if (entry.key.startsWith("a/") && type === "put") {
        if (entry.key.includes("/e/")) audit.push({ key: entry.key, entry: JSON.parse(entry.value), version: entry.version });
        continue;
      }
      const parsed = parsePartKey(entry.key);
      if (!parsed) continue;
      const record = `${parsed.kind}/${parsed.id}`;
      const known = this.#parts.get(record);
      const before: unknown = known?.get(parsed.part);
      const now: unknown = type === "put" ? JSON.parse(entry.value) : undefined;
      if (now === undefined) {
        known?.delete(parsed.part);
        if (known?.size === 0) {
          this.#parts.delete(record);
          this.#ids.get(parsed.kind)?.delete(parsed.id);
        }
      } else if (known) known.set(parsed.part, now);
      else {
        this.#parts.set(record, new Map([[parsed.part, now]]));
        this.#noteId(parsed.kind, parsed.id);
      }
      if (parsed.part === "spec" && now !== undefined) this.#names.set(parsed.id, (now as Part).name);
      parts.push({ ...parsed, now, before });
    }
    if (parts.length === 0 && audit.length === 0) return;
    const commit = { revision, parts, audit };
    for (const listener of this.#listeners) listener(commit);
  }
}
