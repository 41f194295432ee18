/** Chooses a host for one machine, or explains why none fits; ranks all hosts. Pure: a function of request, snapshot and policy. */
import { capacityFilters } from "./capacity-filters.ts";
import { type HostFilter, classText, hostText } from "./host-filter.ts";
import type { HostTable } from "./host-table.ts";
import type { NoHost, PlacementDecision, RankedHost, RefusalClass } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { spread } from "./policies/spread.ts";
import { groupFilters, standingFilters } from "./request-filters.ts";
import { StandingHosts } from "./standing-hosts.ts";
import type { HostFigures, ScoringPolicy } from "./scoring-policy.ts";
import { chargesOf, type SnapshotIndex, type VmCharge } from "./snapshot.ts";

/** O(hosts). The snapshot is not changed: `reserve` what you act on. Equal scores: the smaller host id. */
export function place(
  request: PlacementRequest,
  snapshot: SnapshotIndex,
  policy: ScoringPolicy = spread,
  standing: StandingHosts = new StandingHosts(snapshot),
): PlacementDecision {
  return placeAll([request], snapshot, policy, standing);
}

/** One host for all `requests` (at least one). @param standing shared by decisions between which only reservations change */
export function placeAll(
  requests: readonly PlacementRequest[],
  snapshot: SnapshotIndex,
  policy: ScoringPolicy,
  standing: StandingHosts,
): PlacementDecision {
  const changing = changingFilters(requests, snapshot);
  const { table } = snapshot;
  const figures = newFigures(requests);
  const charges = chargesOf(requests, snapshot);
  let best = -1;
  let bestScore = Number.NEGATIVE_INFINITY;
  let fitting = 0;
  for (const slot of standing.slots(requests)) {
    if (firstFailing(changing, slot) !== undefined) continue;
    fitting += 1;
    fill(figures, table, slot, charges);
    const score = policy.score(figures);
    if (score > bestScore || (score === bestScore && (table.ids[slot] ?? "") < (table.ids[best] ?? ""))) {
      best = slot;
      bestScore = score;
    }
  }
  if (best === -1) return refuse(filtersFor(requests, snapshot), table);
  fill(figures, table, best, charges);
  const count = fitting === 1 ? "the only host that fits" : `best of ${fitting} hosts that fit`;
  return {
    host: table.ids[best] ?? "",
    score: bestScore,
    parts: policy.parts(figures),
    reasons: [`${count} (policy ${policy.name}): ${afterwards(figures)}`],
  };
}

/** All hosts: those that fit, best first; then the others by name, each with everything that rules it out. */
export function rank(request: PlacementRequest, snapshot: SnapshotIndex, policy: ScoringPolicy = spread): RankedHost[] {
  const filters = filtersFor([request], snapshot);
  const { table } = snapshot;
  const figures = newFigures([request]);
  const charges = chargesOf([request], snapshot);
  const hosts: RankedHost[] = [];
  for (let slot = 0; slot < table.length; slot += 1) {
    const facts = table.facts[slot];
    if (facts === undefined) continue;
    const reasons = filters.filter((filter) => filter.fails(slot)).map((filter) => hostText(filter, slot));
    const head = { host: facts.record.id, name: facts.record.name };
    if (reasons.length > 0) {
      hosts.push({ ...head, fits: false, reasons });
      continue;
    }
    fill(figures, table, slot, charges);
    hosts.push({ ...head, fits: true, reasons: [afterwards(figures)], score: policy.score(figures) });
  }
  const order = (a: RankedHost, b: RankedHost): number => {
    if (a.fits !== b.fits) return a.fits ? -1 : 1;
    if (a.score !== undefined && b.score !== undefined) return b.score - a.score || compareText(a.host, b.host);
    return compareText(a.name, b.name);
  };
  return hosts.sort(order);
}

/** Whether this one host can take the machine now: `[]`, or why not. For checks of a host that somebody named. */
export function refusalsOf(request: PlacementRequest, hostId: string, snapshot: SnapshotIndex): readonly string[] {
  const slot = snapshot.table.find(hostId);
  if (slot === undefined || snapshot.table.facts[slot] === undefined) return ["there is no such host"];
  return filtersFor([request], snapshot)
    .filter((filter) => filter.fails(slot))
    .map((filter) => hostText(filter, slot));
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function filtersFor(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  return [...requests.flatMap((request) => standingFilters(request, snapshot)), ...changingFilters(requests, snapshot)];
}

function changingFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  return [...requests.flatMap((request) => groupFilters(request, snapshot)), ...capacityFilters(requests, snapshot)];
}

function firstFailing(filters: readonly HostFilter[], slot: number): HostFilter | undefined {
  for (const filter of filters) if (filter.fails(slot)) return filter;
  return undefined;
}

function refuse(filters: readonly HostFilter[], table: HostTable): NoHost {
  const byCode = new Map<string, { readonly filter: HostFilter; readonly order: number; readonly slots: number[] }>();
  for (let slot = 0; slot < table.length; slot += 1) {
    if (table.facts[slot] === undefined) continue;
    const filter = firstFailing(filters, slot);
    if (filter === undefined) continue;
    const entry = byCode.get(filter.code);
    if (entry === undefined) byCode.set(filter.code, { filter, order: filters.indexOf(filter), slots: [slot] });
    else entry.slots.push(slot);
  }
  const sorted = [...byCode.values()].sort(
    (a, b) => Number(a.filter.own) - Number(b.filter.own) || b.slots.length - a.slots.length || a.order - b.order,
  );
  const classes: RefusalClass[] = sorted.map(({ filter, slots }) => ({
    code: filter.code,
    hosts: slots.map((slot) => table.ids[slot] ?? ""),
    text: classText(filter, slots),
  }));
  const why = classes.length === 0 ? "there is no host yet" : classes.map((group) => group.text).join(", ");
  return { none: true, reason: `no host fits: ${why}`, classes };
}

function newFigures(requests: readonly PlacementRequest[]): HostFigures {
  let cpus = 0;
  let memory = 0;
  for (const request of requests) {
    cpus += request.cpus;
    memory += request.memoryBytes;
  }
  const nothing = { cpuCapacity: 0, cpuUsed: 0, memoryCapacity: 0, memoryUsed: 0 };
  return { ...nothing, cpus, memory, cpuPercent: Number.NaN, memoryPercent: Number.NaN, powerPercent: Number.NaN };
}

/** Ordinary memory and huge pages count together: they are one resource in the scores. */
function fill(figures: HostFigures, table: HostTable, slot: number, charges: readonly VmCharge[]): void {
  figures.cpuCapacity = table.cpuCapacity[slot] ?? 0;
  figures.cpuUsed = table.cpuUsed[slot] ?? 0;
  figures.memoryCapacity = (table.memoryCapacity[slot] ?? 0) + (table.hugeCapacity[slot] ?? 0);
  figures.memoryUsed = (table.memoryUsed[slot] ?? 0) + (table.hugeUsed[slot] ?? 0);
  for (const own of charges) {
    if (!own.slots.includes(slot)) continue;
    figures.cpuUsed -= own.cpus;
    figures.memoryUsed -= own.memoryBytes + own.hugeBytes;
  }
  figures.cpuPercent = table.cpuPercent[slot] ?? Number.NaN;
  figures.memoryPercent = table.memoryPercent[slot] ?? Number.NaN;
  figures.powerPercent = table.powerPercent[slot] ?? Number.NaN;
}

function afterwards(figures: HostFigures): string {
  const percent = (used: number, capacity: number): number => (capacity > 0 ? Math.round((100 * used) / capacity) : 100);
  const cpu = percent(figures.cpuUsed + figures.cpus, figures.cpuCapacity);
  const memory = percent(figures.memoryUsed + figures.memory, figures.memoryCapacity);
  return `${cpu} % of its CPU and ${memory} % of its memory promised with it`;
}
