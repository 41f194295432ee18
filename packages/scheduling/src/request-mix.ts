/**
 * Which sizes of machines there are on the site, and how many of each: what is likely to be asked for next. Sizes are gathered in classes
 * whose CPUs, and whose memory, differ by less than √2; a class is as large as its largest machines. Kept by SnapshotIndex as machines come
 * and go, O(1) each; a function of the machines alone, whatever order they came in.
 */

export interface SizeClass {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Machines in it; may be none any more. */
  readonly count: number;
}

export class RequestMix {
  /** Never shrinks: a class keeps its place. */
  readonly classes: readonly SizeClass[];
  readonly #classes: CountedClass[] = [];
  readonly #places = new Map<number, number>();
  #machines = 0;

  constructor() {
    this.classes = this.#classes;
  }

  get machines(): number {
    return this.#machines;
  }

  add(cpus: number, memoryBytes: number): void {
    this.#count(cpus, memoryBytes, 1);
  }

  remove(cpus: number, memoryBytes: number): void {
    this.#count(cpus, memoryBytes, -1);
  }

  #count(cpus: number, memoryBytes: number, sign: 1 | -1): void {
    // A volume asks for neither.
    if (cpus === 0 && memoryBytes === 0) return;
    const key = step(cpus) * 1024 + step(memoryBytes);
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.#classes.length;
      this.#places.set(key, place);
      this.#classes.push(new CountedClass());
    }
    this.#classes[place]?.change(cpus, memoryBytes, sign);
    this.#machines += sign;
  }
}

/** ⌈log√2⌉; the small part forgives what the logarithm rounds. */
const step = (size: number): number => (size <= 0 ? 0 : Math.ceil(2 * Math.log2(size) - 1e-9) + 1);

class CountedClass implements SizeClass {
  count = 0;
  readonly #cpus = new LargestOf();
  readonly #memory = new LargestOf();

  get cpus(): number {
    return this.#cpus.largest;
  }

  get memoryBytes(): number {
    return this.#memory.largest;
  }

  change(cpus: number, memoryBytes: number, sign: 1 | -1): void {
    this.count += sign;
    this.#cpus.change(cpus, sign);
    this.#memory.change(memoryBytes, sign);
  }
}

/** Numbers with how often each is there, and the largest of them. */
class LargestOf {
  readonly #counts = new Map<number, number>();
  largest = 0;

  change(value: number, sign: 1 | -1): void {
    const count = (this.#counts.get(value) ?? 0) + sign;
    if (count > 0) {
      this.#counts.set(value, count);
      this.largest = Math.max(this.largest, value);
      return;
    }
    this.#counts.delete(value);
    if (value !== this.largest) return;
    this.largest = 0;
    for (const other of this.#counts.keys()) this.largest = Math.max(this.largest, other);
  }
}
