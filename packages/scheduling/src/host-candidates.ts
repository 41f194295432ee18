/**
 * All hosts for one decision: which are open to it, and the reason that rules each other one out. Made for one machine, or for several that
 * must share a host. O(hosts), a few passes over columns.
 */
import { capacityFilters } from "./capacity-filters.ts";
import { classText, type HostFilter, type HostMask, hostText, noHost } from "./host-filter.ts";
import type { NoHost, RefusalClass } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { bindingFilters, groupFilters } from "./request-filters.ts";
import type { HostFigures, ScoringWorld } from "./scoring-policy.ts";
import { chargesOf, type SnapshotIndex, type VmCharge } from "./snapshot.ts";

export class HostCandidates {
  readonly snapshot: SnapshotIndex;
  /** At least one. */
  readonly requests: readonly PlacementRequest[];
  readonly world: ScoringWorld;
  /** The mark of a filter in `mask` is its place here, from 1. */
  readonly #filters: HostFilter[] = [];
  readonly #mask: HostMask;
  readonly #charges: readonly VmCharge[];
  readonly #figures: HostFigures;

  constructor(requests: readonly PlacementRequest[], snapshot: SnapshotIndex) {
    this.requests = requests;
    this.snapshot = snapshot;
    this.#charges = chargesOf(requests, snapshot);
    this.#figures = newFigures(requests);
    const standing = requests.map((request) => snapshot.standing.of(request));
    this.world = {
      priority: Math.max(...requests.map(({ priority }) => priority)),
      // The first one's: those that share a host differ in little else.
      headroom: () => snapshot.standing.of(requests[0] as PlacementRequest).headroom(), // at least one
    };
    this.#mask = new Uint16Array(snapshot.table.length);
    for (const { filters, mask } of new Set(standing)) {
      this.#join(mask);
      this.#filters.push(...filters);
    }
    for (const filter of requests.flatMap((request) => bindingFilters(request, snapshot))) this.#bind(filter);
    for (const filter of requests.flatMap((request) => groupFilters(request, snapshot))) this.#refuse(filter);
    for (const filter of capacityFilters(requests, snapshot)) this.#refuse(filter);
  }

  /** Slots ever given. */
  get length(): number {
    return this.#mask.length;
  }

  isOpen(slot: number): boolean {
    return this.#mask[slot] === 0;
  }

  count(): number {
    let open = 0;
    for (const mark of this.#mask) if (mark === 0) open += 1;
    return open;
  }

  has(code: string): boolean {
    return this.#filters.some((filter) => filter.code === code);
  }

  /** Looks at a host again whose figures have changed since. */
  again(slot: number): void {
    this.#mask[slot] = this.#filters.findIndex((filter) => filter.fails(slot)) + 1;
  }

  /** All that rules it out, or nothing. */
  reasonsAgainst(slot: number): string[] {
    return this.#filters.filter((filter) => filter.fails(slot)).map((filter) => hostText(filter, slot));
  }

  /** Reused by the next call. Ordinary memory and huge pages count together: they are one resource in the scores. */
  figures(slot: number): HostFigures {
    const { table } = this.snapshot;
    const figures = this.#figures;
    figures.cpuCapacity = table.cpuCapacity[slot] ?? 0;
    figures.cpuUsed = table.cpuUsed[slot] ?? 0;
    figures.memoryCapacity = (table.memoryCapacity[slot] ?? 0) + (table.hugeCapacity[slot] ?? 0);
    figures.memoryUsed = (table.memoryUsed[slot] ?? 0) + (table.hugeUsed[slot] ?? 0);
    figures.machines = table.machines[slot] ?? 0;
    for (const own of this.#charges) {
      if (!own.slots.includes(slot)) continue;
      figures.cpuUsed -= own.cpus;
      figures.memoryUsed -= own.memoryBytes + own.hugeBytes;
      figures.machines -= 1;
    }
    figures.cpuPercent = table.cpuPercent[slot] ?? Number.NaN;
    figures.memoryPercent = table.memoryPercent[slot] ?? Number.NaN;
    figures.powerPercent = table.powerPercent[slot] ?? Number.NaN;
    figures.watts = table.facts[slot]?.watts ?? figures.watts;
    return figures;
  }

  /** When none is open: the hosts by what rules them out. */
  refusal(): NoHost {
    const { table } = this.snapshot;
    const byCode = new Map<string, { readonly filter: HostFilter; readonly order: number; readonly slots: number[] }>();
    const byMark = new Map<number, number[]>();
    for (const [place, filter] of this.#filters.entries()) {
      const known = byCode.get(filter.code);
      const slots = known?.slots ?? [];
      if (known === undefined) byCode.set(filter.code, { filter, order: place, slots });
      byMark.set(place + 1, slots);
    }
    for (let slot = 0; slot < this.#mask.length; slot += 1) byMark.get(this.#mask[slot] ?? noHost)?.push(slot);
    const sorted = [...byCode.values()]
      .filter(({ slots }) => slots.length > 0)
      .sort((a, b) => Number(a.filter.own) - Number(b.filter.own) || b.slots.length - a.slots.length || a.order - b.order);
    const classes: RefusalClass[] = sorted.map(({ filter, slots }) => ({
      code: filter.code,
      hosts: slots.map((slot) => table.ids[slot] ?? ""),
      text: classText(filter, slots),
    }));
    const why = classes.length === 0 ? "there is no host yet" : classes.map((group) => group.text).join(", ");
    return { none: true, reason: `no host fits: ${why}`, classes };
  }

  /** Adds what others say of the same hosts. */
  #join(theirs: HostMask): void {
    const mask = this.#mask;
    const before = this.#filters.length;
    for (let slot = 0; slot < mask.length; slot += 1) {
      const mark = theirs[slot] ?? noHost;
      if (mask[slot] === 0 && mark !== 0) mask[slot] = mark === noHost ? noHost : mark + before;
    }
  }

  /** What binds the machine itself is said before anything else that is wrong with the host. */
  #bind(filter: HostFilter): void {
    const mask = this.#mask;
    this.#filters.push(filter);
    for (let slot = 0; slot < mask.length; slot += 1) if (mask[slot] !== noHost && filter.fails(slot)) mask[slot] = this.#filters.length;
  }

  #refuse(filter: HostFilter): void {
    this.#filters.push(filter);
    filter.refuse(this.#mask, this.#filters.length);
  }
}

function newFigures(requests: readonly PlacementRequest[]): HostFigures {
  let cpus = 0;
  let memory = 0;
  for (const request of requests) {
    cpus += request.cpus;
    memory += request.memoryBytes;
  }
  const nothing = { cpuCapacity: 0, cpuUsed: 0, memoryCapacity: 0, memoryUsed: 0, machines: 0, watts: [0, 0] };
  return { ...nothing, cpus, memory, cpuPercent: Number.NaN, memoryPercent: Number.NaN, powerPercent: Number.NaN };
}
