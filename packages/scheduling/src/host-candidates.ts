/**
 * All hosts for one decision: which are open to it, and the reason that rules each other one out. Made for one machine, or for several that
 * must share a host. O(hosts), a few passes over columns.
 */
import { capacityFilters } from "./capacity-filters.ts";
import { deviceFilters } from "./gpu/device-filters.ts";
import { classText, type HostFilter, type HostMask, hostText, noHost } from "./host-filter.ts";
import type { NoHost, RefusalClass } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { type Preferences, preferencesOf } from "./group-rules.ts";
import { numaFilters } from "./numa-filters.ts";
import { bindingFilters, companyFilters, standingFilters } from "./request-filters.ts";
import { type ExtraPromise, noExtra } from "./promise-weights.ts";
import type { ScoringWorld } from "./scoring-policy.ts";
import { chargesOf, type SnapshotIndex, type VmCharge } from "./snapshot.ts";

/** The hosts of one reason. Their ids are gathered when somebody asks: most refusals are told as text, and ten thousand ids are much. */
class RefusedHosts implements RefusalClass {
  readonly filter: HostFilter;
  readonly order: number;
  readonly marks: number[] = [];
  counted = 0;
  #largest = 0;
  /** Not changed any more: where all are refused nothing is placed that would. */
  readonly #mask: HostMask;
  readonly #ids: readonly string[];

  constructor(filter: HostFilter, order: number, mask: HostMask, ids: readonly string[]) {
    this.filter = filter;
    this.order = order;
    this.#mask = mask;
    this.#ids = ids;
  }

  count(slot: number): void {
    this.counted += 1;
    if (this.filter.figure !== undefined) this.#largest = Math.max(this.#largest, this.filter.figure.of(slot));
  }

  get code(): string {
    return this.filter.code;
  }

  get text(): string {
    return classText(this.filter, this.counted, this.#largest);
  }

  get hosts(): readonly string[] {
    const hosts: string[] = [];
    for (let slot = 0; slot < this.#mask.length; slot += 1) if (this.marks.includes(this.#mask[slot] ?? 0)) hosts.push(this.#ids[slot] ?? "");
    return hosts;
  }
}

export class HostCandidates {
  readonly snapshot: SnapshotIndex;
  /** At least one. */
  readonly requests: readonly PlacementRequest[];
  readonly world: ScoringWorld;
  /** What the machines take already, before anything is decided for them. */
  readonly charges: readonly VmCharge[];
  /** The mark of a filter in `mask` is its place here, from 1. */
  readonly #filters: HostFilter[] = [];
  /** Open hosts are 0. Not to be changed. */
  readonly mask: HostMask;
  /** Absent where nothing is preferred. */
  readonly preferences: Preferences | undefined;

  /** Of those that NUMA cells matter to; compiled once, since they are asked of all hosts. */
  readonly #tearing: readonly ((slot: number) => boolean)[];

  constructor(requests: readonly PlacementRequest[], snapshot: SnapshotIndex) {
    this.requests = requests;
    this.snapshot = snapshot;
    this.#tearing = requests.flatMap((request) => tearingOf(request, snapshot) ?? []);
    this.charges = chargesOf(requests, snapshot);
    const standing = requests.map((request) => snapshot.standing.of(request));
    this.world = worldOf(requests, snapshot);
    this.preferences = preferencesOf(requests, snapshot);
    this.mask = snapshot.standing.takeMask(snapshot.table.length);
    for (const { filters, mask } of new Set(standing)) {
      this.#join(mask);
      this.#filters.push(...filters);
    }
    for (const filter of requests.flatMap((request) => bindingFilters(request, snapshot))) this.#bind(filter);
    for (const filter of changingFilters(requests, snapshot)) this.#refuse(filter);
  }

  /** Nothing of this is asked any more. */
  done(): void {
    this.snapshot.standing.giveBack(this.mask);
  }

  isOpen(slot: number): boolean {
    return this.mask[slot] === 0;
  }

  count(): number {
    let open = 0;
    for (let slot = 0; slot < this.mask.length; slot += 1) if (this.mask[slot] === 0) open += 1;
    return open;
  }

  /** One that could be whole in a NUMA cell elsewhere would be in several there, or in none. */
  tears(slot: number): boolean {
    for (const tearing of this.#tearing) if (tearing(slot)) return true;
    return false;
  }

  /** Hosts have several cells, and that matters to one of them. */
  get mayTear(): boolean {
    return this.#tearing.length > 0;
  }

  has(code: string): boolean {
    return this.#filters.some((filter) => filter.code === code);
  }

  /** Looks at a host again whose figures have changed since. */
  again(slot: number): void {
    this.mask[slot] = this.#filters.findIndex((filter) => filter.fails(slot)) + 1;
  }

  /** All that rules it out, or nothing. */
  reasonsAgainst(slot: number): string[] {
    return this.#filters.filter((filter) => filter.fails(slot)).map((filter) => hostText(filter, slot));
  }

  /** When none is open: the hosts by what rules them out. */
  refusal(): NoHost {
    const { table } = this.snapshot;
    const groups = new Map<string, RefusedHosts>();
    const byMark = this.#filters.map((filter, order) => {
      let group = groups.get(filter.code);
      if (group === undefined) groups.set(filter.code, (group = new RefusedHosts(filter, order, this.mask, table.ids)));
      group.marks.push(order + 1);
      return group;
    });
    for (let slot = 0; slot < this.mask.length; slot += 1) byMark[(this.mask[slot] ?? noHost) - 1]?.count(slot);
    const classes: RefusalClass[] = [...groups.values()]
      .filter(({ counted }) => counted > 0)
      .sort((a, b) => Number(a.filter.own) - Number(b.filter.own) || b.counted - a.counted || a.order - b.order);
    const why = classes.length === 0 ? "there is no host yet" : classes.map((group) => group.text).join(", ");
    return { none: true, reason: `no host fits: ${why}`, classes };
  }

  /** Adds what others say of the same hosts. */
  #join(theirs: HostMask): void {
    const mask = this.mask;
    const before = this.#filters.length;
    if (before === 0) return mask.set(theirs);
    for (let slot = 0; slot < mask.length; slot += 1) {
      const mark = theirs[slot] ?? noHost;
      if (mask[slot] === 0 && mark !== 0) mask[slot] = mark === noHost ? noHost : mark + before;
    }
  }

  /** What binds the machine itself is said before anything else that is wrong with the host. */
  #bind(filter: HostFilter): void {
    const mask = this.mask;
    this.#filters.push(filter);
    for (let slot = 0; slot < mask.length; slot += 1) if (mask[slot] !== noHost && filter.fails(slot)) mask[slot] = this.#filters.length;
  }

  #refuse(filter: HostFilter): void {
    this.#filters.push(filter);
    filter.refuse(this.mask, this.#filters.length);
  }
}

function tearingOf({ vm, cells }: PlacementRequest, snapshot: SnapshotIndex): ((slot: number) => boolean) | undefined {
  const tearing = cells && snapshot.table.numa.tearing(cells);
  if (tearing === undefined || snapshot.charge(vm) === undefined) return tearing;
  return (slot) => snapshot.withoutCells(vm, slot, () => tearing(slot));
}

/** What depends on the machines that are there. */
const changingFilters = (requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] => [
  ...requests.flatMap((request) => companyFilters(request, snapshot)),
  ...deviceFilters(requests, snapshot),
  ...capacityFilters(requests, snapshot),
  ...requests.flatMap((request) => numaFilters(request, snapshot)),
];

/** All that rules this one host out. O(1): no other host is looked at but those that hold machines of its groups. */
export function failingAt(slot: number, request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const filters = [...standingFilters(request, snapshot), ...bindingFilters(request, snapshot), ...changingFilters([request], snapshot)];
  return filters.filter((filter) => filter.fails(slot));
}

/** What the machines take already is taken off: there they do not compete with themselves. */
function worldOf(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): ScoringWorld {
  const { table } = snapshot;
  const charges = chargesOf(requests, snapshot);
  const own = (column: Float64Array, of: (charge: VmCharge, slot: number) => number): Float64Array => {
    if (charges.length === 0) return column;
    const without = column.slice();
    for (const charge of charges) for (const slot of charge.slots) without[slot] = (without[slot] ?? 0) - of(charge, slot);
    return without;
  };
  const extraOf = ({ terms }: VmCharge, slot: number): ExtraPromise =>
    terms === undefined ? noExtra : table.weights.extraOf(slot, [terms], [terms]);
  const withHuge = (column: Float64Array, huge: Float64Array): Float64Array =>
    table.hostsWithHugePages === 0 ? column : column.map((bytes, slot) => bytes + (huge[slot] ?? 0));
  const sum = (of: (request: PlacementRequest) => number): number => requests.reduce((total, request) => total + of(request), 0);
  return {
    cpuCapacity: table.cpuCapacity,
    cpuUsed: own(table.cpuUsed, (charge, slot) => charge.cpus + extraOf(charge, slot).cpus),
    memoryCapacity: withHuge(table.memoryCapacity, table.hugeCapacity),
    memoryUsed: own(
      withHuge(table.memoryUsed, table.hugeUsed),
      (charge, slot) => charge.memoryBytes + charge.hugeBytes + extraOf(charge, slot).bytes,
    ),
    cpus: sum(({ cpus }) => cpus),
    memory: sum(({ memoryBytes }) => memoryBytes),
    priority: Math.max(...requests.map(({ priority }) => priority)),
    // The first one's: those that share a host differ in little else.
    headroom: () => snapshot.standing.of(requests[0] as PlacementRequest).headroom(), // at least one
    table,
  };
}
