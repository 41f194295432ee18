/**
 * What decisions over all hosts read of NUMA cells, in typed arrays: a host's cells lie side by side. Kept by NumaBook whenever it books; asked
 * for hosts with several cells.
 */
import type { NumaCell } from "./numa-cell.ts";
import type { CellNeed } from "./numa-choice.ts";

export class NumaColumns {
  #first = new Int32Array(16).fill(-1);
  #count = new Uint16Array(16);
  #cpuRatio = new Float64Array(16).fill(1);
  #places = 0;
  /** Hosts with several cells. */
  several = 0;
  #memoryLeft = new Float64Array(32);
  #vcpusLeft = new Float64Array(32);
  #dedicatable = new Float64Array(32);

  count(slot: number): number {
    return this.#count[slot] ?? 0;
  }

  /** The host has these now. */
  set(slot: number, cells: readonly NumaCell[], cpuRatio: number): void {
    if (slot >= this.#first.length) this.#growHosts(slot);
    if (cells.length > this.count(slot)) {
      this.#first[slot] = this.#places;
      this.#places += cells.length;
      if (this.#places > this.#memoryLeft.length) this.#growCells();
    }
    this.several += Number(cells.length > 1) - Number(this.count(slot) > 1);
    this.#count[slot] = cells.length;
    this.#cpuRatio[slot] = cpuRatio;
    this.update(slot, cells);
  }

  /** They are the same, with other figures. */
  update(slot: number, cells: readonly NumaCell[]): void {
    let place = this.#first[slot] ?? 0;
    for (const cell of cells) {
      this.#memoryLeft[place] = cell.memoryLeft;
      this.#vcpusLeft[place] = cell.vcpusLeft;
      this.#dedicatable[place] = cell.dedicatable;
      place += 1;
    }
  }

  /** Most ordinary memory that one of its cells has left. */
  mostMemory(slot: number): number {
    const first = this.#first[slot] ?? 0;
    let most = 0;
    for (let place = first; place < first + this.count(slot); place += 1) most = Math.max(most, this.#memoryLeft[place] ?? 0);
    return most;
  }

  /** Ordinary memory left in all its cells. */
  memoryInAll(slot: number): number {
    const first = this.#first[slot] ?? 0;
    let sum = 0;
    for (let place = first; place < first + this.count(slot); place += 1) sum += Math.max(0, this.#memoryLeft[place] ?? 0);
    return sum;
  }

  /** vCPUs that may share one of its CPUs. */
  cpuRatio(slot: number): number {
    return this.#cpuRatio[slot] ?? 1;
  }

  /** CPUs that may become somebody's own, in all its cells. */
  dedicatable(slot: number): number {
    const first = this.#first[slot] ?? 0;
    let sum = 0;
    for (let place = first; place < first + this.count(slot); place += 1) sum += this.#dedicatable[place] ?? 0;
    return sum;
  }

  /** Whether one of a host's cells takes all of it. Not for huge pages. Compiled for one decision, which asks of all hosts. */
  fitting({ placement, vcpus, memoryBytes }: CellNeed): (slot: number) => boolean {
    const [firsts, counts, memory] = [this.#first, this.#count, this.#memoryLeft];
    const cpus = placement === "dedicated" ? this.#dedicatable : this.#vcpusLeft;
    return (slot) => {
      const first = firsts[slot] ?? 0;
      const end = first + (counts[slot] ?? 0);
      for (let place = first; place < end; place += 1) if ((memory[place] ?? 0) >= memoryBytes && (cpus[place] ?? 0) >= vcpus) return true;
      return false;
    };
  }

  #growHosts(slot: number): void {
    const size = Math.max(slot + 1, this.#first.length * 2);
    const first = new Int32Array(size).fill(-1);
    first.set(this.#first);
    this.#first = first;
    const count = new Uint16Array(size);
    count.set(this.#count);
    this.#count = count;
    const cpuRatio = new Float64Array(size).fill(1);
    cpuRatio.set(this.#cpuRatio);
    this.#cpuRatio = cpuRatio;
  }

  #growCells(): void {
    const larger = (old: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const grown = new Float64Array(Math.max(this.#places, old.length * 2));
      grown.set(old);
      return grown;
    };
    this.#memoryLeft = larger(this.#memoryLeft);
    this.#vcpusLeft = larger(this.#vcpusLeft);
    this.#dedicatable = larger(this.#dedicatable);
  }
}
