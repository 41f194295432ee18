/**
 * What the agent has to tell the server: per part the newest value, in the order in which parts changed. Kept while the server is
 * away, so that everything that differs is told on return; a part that changed twice meanwhile is told once, with what it is now.
 * One batch is under way at a time; it leaves the queue when the server has answered it.
 */
import type { ReportedPart } from "@sheaf/contract";
import type { Kind } from "@sheaf/model";

/** Parts of one message: a host with hundreds of machines sends several. */
const maximumBatch = 200;

/** A part and its value's JSON, made once: most looks find what was told already. */
interface Kept {
  readonly part: ReportedPart;
  readonly json: string;
}

export class ReportQueue {
  /** Newest value of every part, in the order of change. */
  readonly #waiting = new Map<string, Kept>();
  /** What the server has of each part, as JSON. */
  readonly #told = new Map<string, string>();
  #underWay: { readonly sequence: number; readonly kept: ReadonlyMap<string, Kept> } | null = null;
  #sequence = 0;
  readonly #changed: () => void;

  /** @param changed called when there is something to send */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** @param value `null` deletes the part */
  put(kind: Kind, id: string, part: string, value: unknown): void {
    const key = `${kind}/${id}/${part}`;
    const waiting = this.#waiting.get(key);
    const json = JSON.stringify(value);
    if (waiting ? waiting.json === json : this.#told.get(key) === json && !this.#underWay?.kept.has(key)) return;
    // Moved to the end: the order is that of the latest changes.
    this.#waiting.delete(key);
    this.#waiting.set(key, { part: { kind, id, part, value }, json });
    this.#changed();
  }

  /** A thing is no more this host's: nothing more is told of it. */
  forget(kind: Kind, id: string): void {
    const prefix = `${kind}/${id}/`;
    for (const keys of [this.#waiting, this.#told]) for (const key of keys.keys()) if (key.startsWith(prefix)) keys.delete(key);
  }

  /** The next batch; `null` while one is under way or nothing waits. */
  next(): { readonly sequence: number; readonly parts: readonly ReportedPart[] } | null {
    if (this.#underWay || this.#waiting.size === 0) return null;
    const kept = new Map<string, Kept>();
    for (const [key, each] of this.#waiting) {
      if (kept.size === maximumBatch) break;
      kept.set(key, each);
      this.#waiting.delete(key);
    }
    this.#sequence += 1;
    this.#underWay = { sequence: this.#sequence, kept };
    return { sequence: this.#sequence, parts: partsOf(kept) };
  }

  /** The server has taken (or refused for good) the batch. */
  answered(sequence: number): readonly ReportedPart[] {
    const batch = this.#underWay;
    if (batch?.sequence !== sequence) return [];
    this.#underWay = null;
    for (const [key, { part, json }] of batch.kept) {
      if (part.value === null) this.#told.delete(key);
      else this.#told.set(key, json);
    }
    if (this.#waiting.size > 0) this.#changed();
    return partsOf(batch.kept);
  }

  /** A new connection: what was under way may be lost, and the server may have been restored from a backup: all is told again. */
  restart(): void {
    const again = new Map<string, Kept>();
    for (const [key, json] of this.#told) {
      const [kind = "", id = "", ...part] = key.split("/");
      // Keys are made of a kind by `put`.
      again.set(key, { part: { kind: kind as Kind, id, part: part.join("/"), value: JSON.parse(json) }, json });
    }
    for (const [key, each] of [...(this.#underWay?.kept ?? []), ...this.#waiting]) {
      again.delete(key);
      again.set(key, each);
    }
    this.#underWay = null;
    this.#told.clear();
    this.#waiting.clear();
    for (const [key, each] of again) this.#waiting.set(key, each);
    if (again.size > 0) this.#changed();
  }
}

const partsOf = (kept: ReadonlyMap<string, Kept>): ReportedPart[] => [...kept.values()].map(({ part }) => part);
