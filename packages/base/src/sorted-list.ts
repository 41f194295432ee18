/**
 * An ordered list for many items: a list of short sorted arrays, so that insertion and removal cost a binary search and a short
 * move, and reading on from any place is as quick as reading an array. Called by the memory store and by the cache's indexes.
 * `compare` must be a total order in which no two items of the list are equal; what it looks at must not change while an item is in.
 */
const chunkSize = 512;

export class SortedList<T> {
  readonly #compare: (left: T, right: T) => number;
  #chunks: T[][] = [];
  #size = 0;

  constructor(compare: (left: T, right: T) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#size;
  }

  /** Replaces everything; quicker than adding one by one. */
  fill(items: Iterable<T>): void {
    const all = [...items].sort(this.#compare);
    this.#chunks = [];
    for (let start = 0; start < all.length; start += chunkSize) this.#chunks.push(all.slice(start, start + chunkSize));
    this.#size = all.length;
  }

  /** @returns false when an equal item is there already; it stays */
  add(item: T): boolean {
    const chunkIndex = this.#chunkFor(item);
    const chunk = this.#chunks[chunkIndex];
    if (chunk === undefined) {
      this.#chunks.push([item]);
      this.#size += 1;
      return true;
    }
    const index = this.#lowerBound(chunk, item);
    const found = chunk[index];
    if (found !== undefined && this.#compare(found, item) === 0) return false;
    chunk.splice(index, 0, item);
    this.#size += 1;
    if (chunk.length > chunkSize * 2) this.#chunks.splice(chunkIndex + 1, 0, chunk.splice(chunkSize));
    return true;
  }

  /** @returns false when no equal item is there */
  remove(item: T): boolean {
    const chunkIndex = this.#chunkFor(item);
    const chunk = this.#chunks[chunkIndex];
    if (chunk === undefined) return false;
    const index = this.#lowerBound(chunk, item);
    const found = chunk[index];
    if (found === undefined || this.#compare(found, item) !== 0) return false;
    chunk.splice(index, 1);
    this.#size -= 1;
    if (chunk.length === 0) this.#chunks.splice(chunkIndex, 1);
    return true;
  }

  clear(): void {
    this.#chunks = [];
    this.#size = 0;
  }

  /**
   * Items in order from the first for which `place` is not negative. `place` says where an item lies: negative before the wanted
   * start, zero or positive from it on. The list must not change while this is read.
   */
  *from(place: (item: T) => number): Generator<T, void, undefined> {
    let chunkIndex = partition(this.#chunks.length, (index) => isBefore(this.#chunks[index]?.at(-1), place));
    const first = this.#chunks[chunkIndex];
    if (first === undefined) return;
    let index = partition(first.length, (position) => isBefore(first[position], place));
    for (; chunkIndex < this.#chunks.length; chunkIndex += 1, index = 0) {
      const chunk = this.#chunks[chunkIndex] ?? [];
      // Indexed on purpose: iterators of arrays cost several times as much here.
      for (; index < chunk.length; index += 1) yield chunk[index] as T; // index is in range
    }
  }

  /** Items in falling order, from the last for which `place` is not positive. Otherwise as `from`. */
  *backFrom(place: (item: T) => number): Generator<T, void, undefined> {
    let chunkIndex = partition(this.#chunks.length, (position) => isUpTo(this.#chunks[position]?.[0], place)) - 1;
    const first = this.#chunks[chunkIndex];
    if (first === undefined) return;
    let index = partition(first.length, (position) => isUpTo(first[position], place)) - 1;
    for (;;) {
      const chunk = this.#chunks[chunkIndex] ?? [];
      for (; index >= 0; index -= 1) yield chunk[index] as T; // index is in range
      chunkIndex -= 1;
      const next = this.#chunks[chunkIndex];
      if (next === undefined) return;
      index = next.length - 1;
    }
  }

  [Symbol.iterator](): Generator<T, void, undefined> {
    return this.from(() => 0);
  }

  /** The first chunk whose last item is not before `item`, or the last chunk. */
  #chunkFor(item: T): number {
    const index = partition(this.#chunks.length, (position) => isBefore(this.#chunks[position]?.at(-1), (other) => this.#compare(other, item)));
    return Math.max(0, Math.min(index, this.#chunks.length - 1));
  }

  #lowerBound(chunk: readonly T[], item: T): number {
    return partition(chunk.length, (position) => isBefore(chunk[position], (other) => this.#compare(other, item)));
  }
}

const isBefore = <T>(item: T | undefined, place: (item: T) => number): boolean => item !== undefined && place(item) < 0;
const isUpTo = <T>(item: T | undefined, place: (item: T) => number): boolean => item !== undefined && place(item) <= 0;

/** How many of 0 … length - 1 hold `test`, where it holds for a beginning of them only. */
function partition(length: number, test: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (test(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
