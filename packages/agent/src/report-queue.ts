/**
 * What the agent has to tell the server: per part the newest value, in the order in which parts changed. Kept while the server is
 * away, so that everything that differs is told on return; a part that changed twice meanwhile is told once, with what it is now.
 * One batch is under way at a time; it leaves the queue when the server has answered it.
 */
import type { ReportedPart } from "@sheaf/contract";
import type { Kind } from "@sheaf/model";

/** Parts of one message: a host with hundreds of machines sends several. */
const maximumBatch = 200;

export class ReportQueue {
  /** Newest value of every part, as JSON, in the order of change. */
  readonly #waiting = new Map<string, ReportedPart>();
  /** What the server has of each part, as JSON. */
  readonly #told = new Map<string, string>();
  #underWay: { readonly sequence: number; readonly parts: readonly ReportedPart[] } | null = null;
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
    const now = JSON.stringify(value);
    if (waiting ? JSON.stringify(waiting.value) === now : this.#told.get(key) === now && !this.#isUnderWay(key)) return;
    // Moved to the end: the order is that of the latest changes.
    this.#waiting.delete(key);
    this.#waiting.set(key, { kind, id, part, value });
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
    const parts = [...this.#waiting.values()].slice(0, maximumBatch);
    for (const part of parts) this.#waiting.delete(keyOf(part));
    this.#sequence += 1;
    this.#underWay = { sequence: this.#sequence, parts };
    return this.#underWay;
  }

  /** The server has taken (or refused for good) the batch. */
  answered(sequence: number): readonly ReportedPart[] {
    const batch = this.#underWay;
    if (batch?.sequence !== sequence) return [];
    this.#underWay = null;
    for (const part of batch.parts) {
      if (part.value === null) this.#told.delete(keyOf(part));
      else this.#told.set(keyOf(part), JSON.stringify(part.value));
    }
    if (this.#waiting.size > 0) this.#changed();
    return batch.parts;
  }

  /** A new connection: what was under way may be lost, and the server may have been restored from a backup: all is told again. */
  restart(): void {
    const again = new Map<string, ReportedPart>();
    for (const [key, json] of this.#told) {
      const [kind = "", id = "", ...part] = key.split("/");
      // Keys are made of a kind by `put`.
      again.set(key, { kind: kind as Kind, id, part: part.join("/"), value: JSON.parse(json) });
    }
    for (const part of [...(this.#underWay?.parts ?? []), ...this.#waiting.values()]) {
      again.delete(keyOf(part));
      again.set(keyOf(part), part);
    }
    this.#underWay = null;
    this.#told.clear();
    this.#waiting.clear();
    for (const [key, part] of again) this.#waiting.set(key, part);
    if (again.size > 0) this.#changed();
  }

  #isUnderWay(key: string): boolean {
    return this.#underWay?.parts.some((part) => keyOf(part) === key) ?? false;
  }
}

const keyOf = (part: ReportedPart): string => `${part.kind}/${part.id}/${part.part}`;
