/**
 * One field as lists are sorted by it: values by row, and where they are texts a number for each that is in the texts' own order, so that
 * two of a hundred thousand are mostly told apart without looking at their letters. Used by list-table.ts.
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

const absent = -1;
/** Characters that a key holds: seven bits each, within what a number holds exactly. */
const keyLength = 7;
const beyond = 126;

export class SortKeys {
  #keys: number[] = [];
  /** What all texts begin with: names and ids of one site are much alike. */
  #prefix: string | null = null;
  /** A text came that begins otherwise. */
  #stale = false;
  #onlyTexts = true;

  set(row: number, value: SortValue): void {
    if (typeof value === "number") this.#onlyTexts = false;
    else if (value !== null) this.#share(value);
    this.#keys[row] = this.#keyOf(value);
  }

  move(from: number, to: number): void {
    this.#keys[to] = this.#keys[from] ?? absent;
  }

  /** @param values of all rows. @returns how two rows compare by it, 0 where it takes more than the keys to say; `null` where keys are of no use */
  ordered(values: readonly SortValue[]): readonly number[] | null {
    if (!this.#onlyTexts || this.#prefix === null) return null;
    if (this.#stale) this.#keys = values.map((value) => this.#keyOf(value));
    this.#stale = false;
    return this.#keys;
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
    if (typeof value !== "string") return absent;
    const from = this.#prefix?.length ?? 0;
    let key = 0;
    let open = false;
    for (let index = from; index < from + keyLength; index += 1) {
      // Past the end is before every character. What is beyond ASCII shares the last place, and what follows it says nothing any more.
      const character: number = open || index >= value.length ? 0 : Math.min(value.charCodeAt(index), beyond) + 1;
      key = key * 128 + character;
      open ||= character > beyond;
    }
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
