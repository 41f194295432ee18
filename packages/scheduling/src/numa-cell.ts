/** One NUMA cell of a host: what it offers, and what is booked in it. Held by NumaBook; changed by it, and by chooseCells for a moment. */
import type { PlacementCell } from "@sheaf/model";

/** What a host's inventory and its cluster's ratios make of a cell. */
export interface CellFacts {
  readonly cell: number;
  /** Without those kept back for the host. */
  readonly cpus: readonly number[];
  /** CPUs that share a core, where some do. */
  readonly siblings: readonly (readonly number[])[];
  /** vCPUs that may share one CPU. */
  readonly cpuRatio: number;
  /** Ordinary memory, after overcommit. */
  readonly memoryCapacity: number;
  readonly hugepages: readonly { readonly sizeBytes: number; readonly count: number }[];
}

const nothing: Omit<CellFacts, "cell"> = { cpus: [], siblings: [], cpuRatio: 1, memoryCapacity: 0, hugepages: [] };

export class NumaCell {
  facts: CellFacts;
  /** Of machines that float within the cell. */
  sharedVcpus = 0;
  memoryUsed = 0;
  /** Machines for each CPU that is somebody's own. More than one only where records say so. */
  #ownCpus: Map<number, number> | undefined;
  /** Bytes by the size of the page. */
  #pagesUsed: Map<number, number> | undefined;

  constructor(cell: number) {
    this.facts = { cell, ...nothing };
  }

  /** The host has no such cell (any more); what is booked in it stays booked. */
  vanish(): void {
    this.facts = { cell: this.facts.cell, ...nothing };
  }

  get id(): number {
    return this.facts.cell;
  }

  /** CPUs that are somebody's own. */
  get ownCpus(): number {
    return this.#ownCpus?.size ?? 0;
  }

  get sharedCpus(): number {
    return this.facts.cpus.length - this.ownCpus;
  }

  get memoryLeft(): number {
    return this.facts.memoryCapacity - this.memoryUsed;
  }

  /** CPUs that may become somebody's own without taking from the machines that share the rest what they were promised. */
  get dedicatable(): number {
    return Math.max(0, Math.floor(this.sharedCpus - this.sharedVcpus / this.facts.cpuRatio));
  }

  /** vCPUs that one machine that shares its CPUs may have here: more than there are CPUs would wait for each other. */
  get vcpusLeft(): number {
    return Math.min(this.sharedCpus, this.sharedCpus * this.facts.cpuRatio - this.sharedVcpus);
  }

  /** Bytes booked in pages of this size. */
  pagesUsed(sizeBytes: number): number {
    return this.#pagesUsed?.get(sizeBytes) ?? 0;
  }

  pagesLeft({ sizeBytes, count }: CellFacts["hugepages"][number]): number {
    return sizeBytes * count - this.pagesUsed(sizeBytes);
  }

  /** Bytes free in pages of the size that has most. */
  get mostPagesLeft(): number {
    return Math.max(0, ...this.facts.hugepages.map((pages) => this.pagesLeft(pages)));
  }

  isOwn(cpu: number): boolean {
    return this.#ownCpus?.has(cpu) === true;
  }

  /** @param sign 1: booked; -1: given back */
  book({ vcpus, memoryBytes, pageBytes, cpus }: PlacementCell, sign: 1 | -1): void {
    if (pageBytes === undefined) this.memoryUsed += sign * memoryBytes;
    else (this.#pagesUsed ??= new Map()).set(pageBytes, this.pagesUsed(pageBytes) + sign * inPages(memoryBytes, pageBytes));
    if (cpus === undefined) this.sharedVcpus += sign * vcpus;
    for (const cpu of cpus ?? []) {
      const own = (this.#ownCpus ??= new Map<number, number>());
      const count = (own.get(cpu) ?? 0) + sign;
      if (count === 0) own.delete(cpu);
      else own.set(cpu, count);
    }
  }
}

/** Whole pages. */
export const inPages = (bytes: number, pageBytes: number): number => Math.ceil(bytes / pageBytes) * pageBytes;

/**
 * CPUs of the cell for vCPUs that are to have their own: whole cores first, so that nobody else computes on the same core; what is left over
 * from those that are broken already. @returns fewer than `count` where there are no more
 */
export function ownCpus(cell: NumaCell, count: number): number[] {
  const offered = new Set(cell.facts.cpus);
  const isFree = (cpu: number): boolean => offered.has(cpu) && !cell.isOwn(cpu);
  const grouped = new Set(cell.facts.siblings.flat());
  const cores = [...cell.facts.siblings, ...cell.facts.cpus.filter((cpu) => !grouped.has(cpu)).map((cpu) => [cpu])].toSorted(byFirst);
  const whole = cores.filter((core) => core.every(isFree));
  const broken = cores.filter((core) => !core.every(isFree)).flatMap((core) => core.filter(isFree));
  const taken: number[] = [];
  const left: number[] = [];
  for (const core of whole) {
    if (taken.length + core.length <= count) taken.push(...core);
    else left.push(...core);
  }
  return [...taken, ...broken, ...left].slice(0, count).sort((a, b) => a - b);
}

const byFirst = (one: readonly number[], other: readonly number[]): number => (one[0] ?? 0) - (other[0] ?? 0);
