/**
 * One field as lists are sorted by it: values by row, and a number for each that is in the values' own order (for texts that of their first
 * letters), so that two of a hundred thousand are mostly told apart without looking at them. Used by list-table.ts.
 */

/** What a list is ordered by. Absent values come last, whichever way. */
export type SortValue = string | number | null;

export const sortValue = (value: unknown): SortValue =>
  typeof value === "string" || typeof value === "number" ? value : typeof value === "boolean" ? String(value) : null;

/** Numbers before texts, absent ones last. */
export function compareValues(a: SortValue, b: SortValue, direction: 1 | -1): number {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  if (typeof a === typeof b) return a < b ? -direction : direction;
  return typeof a === "number" ? -1 : 1;
}

const absent = Number.POSITIVE_INFINITY;
/** Characters that a key holds: seven bits each, within what a number holds exactly. */
const keyLength = 7;
const beyond = 126;

/** By row: how two rows compare by it (`compareKeys`), 0 where it takes more than the keys to say. */
export interface OrderedKeys {
  readonly keys: Float64Array;
  /** Where the keys are equal the values are. */
  readonly exact: boolean;
}

export class SortKeys {
  /** Bare numbers side by side: a walk along a hundred thousand of them stays in the processor's cache. */
  #keys = new Float64Array(64);
  #holds: "nothing" | "texts" | "numbers" | "both" = "nothing";
  /** What all texts begin with: names and ids of one site are much alike. */
  #prefix: string | null = null;
  /** A text came that begins otherwise: the keys are made anew when they are asked for, once for all. */
  #stale = false;
  /** A text is longer than its key, or has letters that a key does not tell apart. */
  #cut = false;

  set(row: number, value: SortValue): void {
    if (row >= this.#keys.length) {
      const larger = new Float64Array(row * 2);
      larger.set(this.#keys);
      this.#keys = larger;
    }
    if (typeof value === "string") {
      this.#hold("texts");
      this.#share(value);
    } else if (value !== null) this.#hold(Number.isFinite(value) ? "numbers" : "both");
    if (!this.#stale) this.#keys[row] = this.#keyOf(value);
  }

  move(from: number, to: number): void {
    this.#keys[to] = this.#keys[from] ?? absent;
  }

  /** @param values of all rows. @returns `null` where keys are of no use */
  ordered(values: readonly SortValue[]): OrderedKeys | null {
    if (this.#holds === "both") return null;
    if (this.#stale) {
      this.#cut = false;
      for (let row = 0; row < values.length; row += 1) this.#keys[row] = this.#keyOf(values[row] ?? null);
      this.#stale = false;
    }
    return { keys: this.#keys, exact: !this.#cut };
  }

  #hold(what: "texts" | "numbers" | "both"): void {
    if (this.#holds === "nothing") this.#holds = what;
    else if (this.#holds !== what) this.#holds = "both";
  }

  #share(text: string): void {
    if (this.#prefix === null) this.#prefix = text;
    if (text.startsWith(this.#prefix)) return;
    let length = 0;
    while (length < text.length && text[length] === this.#prefix[length]) length += 1;
    this.#prefix = text.slice(0, length);
    this.#stale = true;
  }

  #keyOf(value: SortValue): number {
    if (typeof value !== "string") return value ?? absent;
    const from = this.#prefix?.length ?? 0;
    let key = 0;
    let open = false;
    for (let index = from; index < from + keyLength; index += 1) {
      // Past the end is before every character. What is beyond ASCII shares the last place, and what follows it says nothing any more.
      const character: number = open || index >= value.length ? 0 : Math.min(value.charCodeAt(index), beyond) + 1;
      key = key * 128 + character;
      open ||= character > beyond;
    }
    if (open || value.length > from + keyLength) this.#cut = true;
    return key;
  }
}

/** By their keys; 0: look at the values. */
export function compareKeys(a: number, b: number, direction: 1 | -1): number {
  if (a === b) return 0;
  if (a === absent) return 1;
  if (b === absent) return -1;
  return a < b ? -direction : direction;
}
