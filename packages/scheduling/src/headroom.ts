/**
 * How many more machines of each usual size the hosts would hold that a request may use at all, how many of those hosts are wholly free, and
 * how much of them is promised. Counted once and then kept: only slots that changed are counted again, so that asking costs a decision
 * nothing that grows with the hosts. Kept by StandingHosts, read by policies.
 */
import type { HostMask } from "./host-filter.ts";
import type { HostTable } from "./host-table.ts";
import type { RequestMix } from "./request-mix.ts";

/** Machines of one size, or hosts of one shape. */
export interface Copies {
  cpus: number;
  memoryBytes: number;
  /** How many more of them fit, each host by itself. */
  fitting: number;
}

export interface WholeHosts extends Copies {
  /** How many there are, free or not. */
  readonly all: number;
}

/** Shapes of hosts that whole hosts are counted of: the most frequent ones. */
const shapesCounted = 6;
/** Fewer hosts of a shape than this have none to spare. */
const fewestHosts = 4;

/** Of a copy: what sums of fractions may round. */
export const forgiven = 1e-9;

/** How many of that size go into what is free. */
function copiesIn(freeCpus: number, freeMemory: number, cpus: number, memoryBytes: number): number {
  const byCpu = cpus > 0 ? Math.floor(freeCpus / cpus + forgiven) : Number.POSITIVE_INFINITY;
  const byMemory = memoryBytes > 0 ? Math.floor(freeMemory / memoryBytes + forgiven) : Number.POSITIVE_INFINITY;
  return Math.max(0, Math.min(byCpu, byMemory));
}

export class Headroom {
  /** By the places of `mix.classes`. */
  readonly classes: Copies[] = [];
  whole: WholeHosts[] = [];
  readonly #table: HostTable;
  readonly #mix: RequestMix;
  readonly #mask: HostMask;
  /** As counted; a negative amount of CPU: the slot is not open. */
  readonly #freeCpus: Float64Array;
  readonly #freeMemory: Float64Array;
  readonly #cpuCapacity: Float64Array;
  readonly #memoryCapacity: Float64Array;
  readonly #sums = { hosts: 0, freeCpus: 0, freeMemory: 0, cpuCapacity: 0, memoryCapacity: 0 };
  #position: number;
  #shapesChanged = true;

  /** @param mask kept up to date by its owner, who calls `changed` for each slot whose mark changes */
  constructor(table: HostTable, mix: RequestMix, mask: HostMask) {
    this.#table = table;
    this.#mix = mix;
    this.#mask = mask;
    this.#freeCpus = new Float64Array(mask.length).fill(-1);
    this.#freeMemory = new Float64Array(mask.length);
    this.#cpuCapacity = new Float64Array(mask.length);
    this.#memoryCapacity = new Float64Array(mask.length);
    this.#position = table.figuresLog.position;
    for (let slot = 0; slot < mask.length; slot += 1) this.#read(slot);
  }

  get mix(): RequestMix {
    return this.#mix;
  }

  /** Hosts that it is counted over. */
  get hosts(): number {
    return this.#sums.hosts;
  }

  /** Share of what the hosts may promise that is promised, of the scarcer of CPU and memory; 1 where there is nothing. */
  get promised(): number {
    const { freeCpus, freeMemory, cpuCapacity, memoryCapacity } = this.#sums;
    if (cpuCapacity <= 0 || memoryCapacity <= 0) return 1;
    // Rounded: the sums were made in some order.
    return Math.round(1e6 * Math.max(1 - freeCpus / cpuCapacity, 1 - freeMemory / memoryCapacity)) / 1e6;
  }

  /** @returns `false` where too much has changed: a new one is cheaper */
  update(): boolean {
    const { figuresLog } = this.#table;
    if (!figuresLog.since(this.#position, (slot) => this.changed(slot))) return false;
    this.#position = figuresLog.position;
    this.#countClasses();
    if (this.#shapesChanged) this.#countShapes();
    return true;
  }

  changed(slot: number): void {
    if (slot >= this.#mask.length) return;
    const [cpus, memory] = [this.#freeCpus[slot] ?? -1, this.#freeMemory[slot] ?? 0];
    this.#read(slot);
    const [cpusNow, memoryNow] = [this.#freeCpus[slot] ?? -1, this.#freeMemory[slot] ?? 0];
    if (cpus === cpusNow && memory === memoryNow) return;
    for (const of of this.classes) of.fitting += difference(of, cpus, memory, cpusNow, memoryNow);
    for (const of of this.whole) of.fitting += difference(of, cpus, memory, cpusNow, memoryNow);
  }

  #read(slot: number): void {
    const { cpuCapacity, cpuUsed, memoryCapacity, memoryUsed, hugeCapacity, hugeUsed, numa } = this.#table;
    const sums = this.#sums;
    if ((this.#freeCpus[slot] ?? -1) >= 0) {
      sums.hosts -= 1;
      sums.freeCpus -= this.#freeCpus[slot] ?? 0;
      sums.freeMemory -= this.#freeMemory[slot] ?? 0;
    }
    const isOpen = this.#mask[slot] === 0;
    const cpus = isOpen ? (cpuCapacity[slot] ?? 0) : 0;
    // Shapes are of hosts as they are: a CPU that becomes somebody's own does not make another shape, and shapes are dear to count.
    const offered = isOpen ? numa.cpuOffer(slot) : 0;
    const memory = isOpen ? (memoryCapacity[slot] ?? 0) + (hugeCapacity[slot] ?? 0) : 0;
    this.#freeCpus[slot] = isOpen ? Math.max(0, cpus - (cpuUsed[slot] ?? 0)) : -1;
    this.#freeMemory[slot] = isOpen ? Math.max(0, memory - (memoryUsed[slot] ?? 0) - (hugeUsed[slot] ?? 0)) : 0;
    if (isOpen) {
      sums.hosts += 1;
      sums.freeCpus += this.#freeCpus[slot] ?? 0;
      sums.freeMemory += this.#freeMemory[slot] ?? 0;
    }
    if (this.#cpuCapacity[slot] === offered && this.#memoryCapacity[slot] === memory) return;
    sums.cpuCapacity += offered - (this.#cpuCapacity[slot] ?? 0);
    sums.memoryCapacity += memory - (this.#memoryCapacity[slot] ?? 0);
    this.#cpuCapacity[slot] = offered;
    this.#memoryCapacity[slot] = memory;
    this.#shapesChanged = true;
  }

  /** O(hosts) for each class whose size is another now: a larger machine of it came, or the largest went. */
  #countClasses(): void {
    for (const [place, { cpus, memoryBytes }] of this.#mix.classes.entries()) {
      const known = this.classes[place];
      if (known?.cpus === cpus && known.memoryBytes === memoryBytes) continue;
      this.classes[place] = { cpus, memoryBytes, fitting: cpus === 0 && memoryBytes === 0 ? 0 : this.#fitting(cpus, memoryBytes) };
    }
  }

  #fitting(cpus: number, memoryBytes: number, freeCpus = this.#freeCpus, freeMemory = this.#freeMemory): number {
    let sum = 0;
    for (let slot = 0; slot < freeCpus.length; slot += 1) sum += copiesIn(freeCpus[slot] ?? -1, freeMemory[slot] ?? 0, cpus, memoryBytes);
    return sum;
  }

  /** Hosts whose CPUs, and whose memory, differ by less than √2 are of one shape, as small as the smallest of them. */
  #countShapes(): void {
    this.#shapesChanged = false;
    const shapes = new Map<number, { cpus: number; memoryBytes: number; hosts: number }>();
    for (let slot = 0; slot < this.#mask.length; slot += 1) {
      const [cpus, memoryBytes] = [this.#cpuCapacity[slot] ?? 0, this.#memoryCapacity[slot] ?? 0];
      if (cpus <= 0 || memoryBytes <= 0) continue;
      const key = Math.floor(2 * Math.log2(cpus) + 1e-9) * 1024 + Math.floor(2 * Math.log2(memoryBytes) + 1e-9);
      const shape = shapes.get(key);
      if (shape === undefined) shapes.set(key, { cpus, memoryBytes, hosts: 1 });
      else {
        shape.cpus = Math.min(shape.cpus, cpus);
        shape.memoryBytes = Math.min(shape.memoryBytes, memoryBytes);
        shape.hosts += 1;
      }
    }
    this.whole = [...shapes.values()]
      .filter(({ hosts }) => hosts >= fewestHosts)
      .sort((a, b) => b.hosts - a.hosts || b.memoryBytes - a.memoryBytes || b.cpus - a.cpus)
      .slice(0, shapesCounted)
      .map(({ cpus, memoryBytes }) => ({
        cpus,
        memoryBytes,
        fitting: this.#fitting(cpus, memoryBytes),
        all: this.#fitting(cpus, memoryBytes, this.#cpuCapacity, this.#memoryCapacity),
      }));
  }
}

function difference({ cpus, memoryBytes }: Copies, freeCpus: number, freeMemory: number, freeCpusNow: number, freeMemoryNow: number): number {
  if (cpus === 0 && memoryBytes === 0) return 0;
  return copiesIn(freeCpusNow, freeMemoryNow, cpus, memoryBytes) - copiesIn(freeCpus, freeMemory, cpus, memoryBytes);
}
