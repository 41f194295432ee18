/** The NUMA cells of all hosts, by slot: what each offers and what is booked in it. Part of HostTable; changed by what machines are charged. */
import type { HostObservation, NumaPlacement } from "@sheaf/model";
import { NumaCell } from "./numa-cell.ts";
import { type CellNeed, chooseCells, isBooked, wholeCell } from "./numa-choice.ts";
import { NumaColumns } from "./numa-columns.ts";

export interface HostOffer {
  /** CPUs, before overcommit. */
  readonly cpus: number;
  readonly cpuRatio: number;
  /** Ordinary memory, after overcommit. */
  readonly memoryCapacity: number;
}

interface HostCells {
  offer: HostOffer;
  /** As the host reports them. */
  cells: readonly NumaCell[];
  /** Those too that it does not have (any more), and in which something is booked. */
  readonly known: Map<number, NumaCell>;
  /** CPUs that are somebody's own. */
  ownCpus: number;
}

const noOffer: HostOffer = { cpus: 0, cpuRatio: 1, memoryCapacity: 0 };

export class NumaBook {
  readonly #hosts: (HostCells | undefined)[] = [];
  readonly #columns = new NumaColumns();

  cells(slot: number): readonly NumaCell[] {
    return this.#hosts[slot]?.cells ?? [];
  }

  describe(slot: number, seen: HostObservation["numa"], offer: HostOffer): void {
    const host = this.#host(slot);
    host.offer = offer;
    for (const cell of host.known.values()) cell.vanish();
    const ordinary = seen.map(({ memoryBytes, hugepages }) =>
      Math.max(0, memoryBytes - hugepages.reduce((sum, { sizeBytes, count }) => sum + sizeBytes * count, 0)),
    );
    const inAll = ordinary.reduce((sum, bytes) => sum + bytes, 0);
    const keptBack = lowestCpus(seen, offer.cpus);
    let capacityLeft = offer.memoryCapacity;
    host.cells = seen.map(({ cell: id, cpus, siblings, hugepages }, place) => {
      // What is not promised is not promised in any cell; the last one takes what rounding left.
      const share = place === seen.length - 1 ? capacityLeft : Math.floor((offer.memoryCapacity * (ordinary[place] ?? 0)) / Math.max(1, inAll));
      capacityLeft -= share;
      const cell = this.#cell(host, id);
      cell.facts = {
        cell: id,
        cpus: keptBack.size === 0 ? cpus : cpus.filter((cpu) => !keptBack.has(cpu)),
        siblings: siblings ?? [],
        cpuRatio: offer.cpuRatio,
        memoryCapacity: share,
        hugepages,
      };
      return cell;
    });
    this.#columns.set(slot, host.cells, offer.cpuRatio);
  }

  /** The host is gone, or has said nothing; what is booked on it stays booked. */
  forget(slot: number): void {
    const host = this.#hosts[slot];
    if (host === undefined) return;
    host.offer = noOffer;
    host.cells = [];
    for (const cell of host.known.values()) cell.vanish();
    this.#columns.set(slot, host.cells, 1);
  }

  /** @param sign 1: booked; -1: given back */
  book(slot: number, { cells }: NumaPlacement, sign: 1 | -1): void {
    const host = this.#host(slot);
    for (const piece of cells) {
      const cell = this.#cell(host, piece.cell);
      const before = cell.ownCpus;
      cell.book(piece, sign);
      host.ownCpus += cell.ownCpus - before;
    }
    this.#columns.update(slot, host.cells);
  }

  /** vCPUs that the host may be promised: a CPU that is one vCPU's own counts for that one alone. */
  cpuCapacity(slot: number): number {
    const host = this.#hosts[slot];
    if (host === undefined) return 0;
    const { ownCpus: own, offer } = host;
    return Math.max(0, offer.cpus - own) * offer.cpuRatio + Math.min(own, offer.cpus);
  }

  /** The same were no CPU somebody's own: what the host is, whoever is on it. */
  cpuOffer(slot: number): number {
    const { cpus, cpuRatio } = this.#hosts[slot]?.offer ?? noOffer;
    return cpus * cpuRatio;
  }

  /** CPUs that may become somebody's own. @param vcpusLeft that may be promised on the host: what floats over all of it is in no cell's book */
  dedicatable(slot: number, vcpusLeft: number): number {
    return Math.max(0, Math.min(this.#columns.dedicatable(slot), Math.floor(vcpusLeft / this.#columns.cpuRatio(slot))));
  }

  /** Ordinary memory left in all cells. */
  memoryInAll(slot: number): number {
    return this.#columns.memoryInAll(slot);
  }

  cellCount(slot: number): number {
    return this.#columns.count(slot);
  }

  /** Most that one of its cells has left, of what the machine's memory comes from. */
  mostLeft(slot: number, { hugepages }: CellNeed): number {
    if (!hugepages) return this.#columns.mostMemory(slot);
    return Math.max(0, ...this.cells(slot).map((cell) => cell.mostPagesLeft));
  }

  /** @returns `undefined`: nothing is booked for it there, it floats; `null`: there is no room as it asks for it */
  choose(slot: number, need: CellNeed): NumaPlacement | null | undefined {
    const cells = this.cells(slot);
    if (!isBooked(need, cells.length)) return undefined;
    const found = chooseCells(cells, need);
    return found === null && need.placement === "automatic" && !need.hugepages ? undefined : found;
  }

  /** Whether one cell takes all of it. Good for one decision. */
  fitting(need: CellNeed): (slot: number) => boolean {
    return need.hugepages ? (slot) => wholeCell(this.cells(slot), need) !== undefined : this.#columns.fitting(need);
  }

  /**
   * Whether it would have its memory or its vCPUs in several cells of a host, where one with room would serve it better. `undefined`: nowhere.
   * Good for one decision.
   */
  tearing(need: CellNeed): ((slot: number) => boolean) | undefined {
    if (need.placement === "floating" || this.#columns.several === 0) return undefined;
    const fits = this.fitting(need);
    return (slot) => this.#columns.count(slot) > 1 && !fits(slot);
  }

  /** What `look` says while `own` is not booked there: a machine does not compete with itself. */
  without<T>(slot: number, own: NumaPlacement | undefined, look: () => T): T {
    if (own === undefined) return look();
    this.book(slot, own, -1);
    try {
      return look();
    } finally {
      this.book(slot, own, 1);
    }
  }

  #host(slot: number): HostCells {
    return (this.#hosts[slot] ??= { offer: noOffer, cells: [], known: new Map(), ownCpus: 0 });
  }

  #cell(host: HostCells, id: number): NumaCell {
    let cell = host.known.get(id);
    if (cell === undefined) host.known.set(id, (cell = new NumaCell(id)));
    return cell;
  }
}

const none: ReadonlySet<number> = new Set();

/** The CPUs that are not offered: those with the smallest numbers, where the kernel does most of its own work. */
function lowestCpus(seen: HostObservation["numa"], offered: number): ReadonlySet<number> {
  const count = seen.reduce((sum, { cpus }) => sum + cpus.length, 0);
  if (count <= offered) return none;
  const all = seen.flatMap(({ cpus }) => cpus).sort((a, b) => a - b);
  return new Set(all.slice(0, count - offered));
}
