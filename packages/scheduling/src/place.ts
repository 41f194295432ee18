/** Chooses a host for one machine, or explains why none fits; ranks all hosts. Pure: a function of request, snapshot and policy. */
import { devicesWords, type NumaPlacement, type PlacedDevices, type PlacementPolicy, wishesForDevices } from "@sheaf/model";
import { wishesOf } from "./gpu/device-filters.ts";
import { failingAt, HostCandidates } from "./host-candidates.ts";
import { hostText } from "./host-filter.ts";
import { HostScores } from "./host-scores.ts";
import { numaWords } from "./numa-words.ts";
import type { Chosen, PlacementDecision, RankedHost } from "./placement-decision.ts";
import { asleepCodes } from "./request-filters.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { clusterPolicy, policyOf, policyWords, samePolicy, weighted, type WeightedPolicies } from "./policy-choice.ts";
import { cpuShare, memoryShare } from "./scoring-policy.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/**
 * O(hosts). The snapshot is not changed: `reserve` what you act on. Equal scores: the smaller host id.
 * @param policy absent: the machine's own, else its cluster's
 */
export function place(request: PlacementRequest, snapshot: SnapshotIndex, policy?: PlacementPolicy): PlacementDecision {
  return placeAll([request], snapshot, policy);
}

/** One host for all `requests` (at least one). */
export function placeAll(requests: readonly PlacementRequest[], snapshot: SnapshotIndex, policy?: PlacementPolicy): PlacementDecision {
  const { table } = snapshot;
  const candidates = new HostCandidates(requests, snapshot);
  const fitting = candidates.count();
  if (fitting === 0) return candidates.refusal();
  const { policy: first, decided } = policyFor(requests, snapshot, policy);
  let by = weighted(first);
  let scores = new HostScores(candidates, by);
  let best = scores.best();
  if (!decided) {
    const own = clusterPolicy(table.facts[best]?.record.spec.cluster ?? "", table);
    if (!samePolicy(own, first)) {
      by = weighted(own);
      scores = new HostScores(candidates, by);
      best = scores.best(table.clusterNumber[best]);
    }
  }
  const decision = chosen(best, candidates, scores, by, fitting);
  candidates.done();
  return decision;
}

/** @param fitting hosts that were open */
export function chosen(slot: number, candidates: HostCandidates, scores: HostScores, by: WeightedPolicies, fitting: number): Chosen {
  const devices = devicesOn(slot, candidates);
  const count = fitting === 1 ? "the only host that fits" : `best of ${fitting} hosts that fit`;
  const numa = cellsOf(candidates, slot);
  return {
    host: candidates.snapshot.table.ids[slot] ?? "",
    score: scores.of(slot),
    parts: scores.parts(slot),
    reasons: [
      `${count} (policy ${policyWords(by)}): ${afterwards(candidates, slot)}${numaWords(numa)}${devices === undefined ? "" : `, with ${devicesWords(devices)}`}`,
    ],
    ...(devices === undefined ? {} : { devices }),
    ...(numa === undefined ? {} : { numa }),
  };
}

/** Of a single machine; those that share a host are each given theirs when they are reserved. */
function cellsOf({ requests, snapshot }: HostCandidates, slot: number): NumaPlacement | undefined {
  const [request] = requests;
  return request === undefined || requests.length > 1 ? undefined : (snapshot.cellsOn(request, slot) ?? undefined);
}

/** Of one machine; several that share a host are given theirs one by one. */
function devicesOn(slot: number, { requests, charges, snapshot }: HostCandidates): PlacedDevices | undefined {
  const [request] = requests;
  if (request === undefined || requests.length > 1 || !wishesForDevices(request)) return undefined;
  return snapshot.devices.choose(slot, [wishesOf(request)], new Set(charges))?.[0];
}

export const policyFor = (requests: readonly PlacementRequest[], snapshot: SnapshotIndex, given: PlacementPolicy | undefined) =>
  given === undefined ? policyOf(requests, snapshot.table) : { policy: given, decided: true };

/** All hosts: those that fit, best first; then the others by name, each with everything that rules it out. */
export function rank(request: PlacementRequest, snapshot: SnapshotIndex, policy?: PlacementPolicy): RankedHost[] {
  const { table } = snapshot;
  const candidates = new HostCandidates([request], snapshot);
  const scores = new HostScores(candidates, weighted(policyFor([request], snapshot, policy).policy));
  const hosts: RankedHost[] = [];
  const broken = new Map<string, number>();
  /** In several NUMA cells, or in none: after those where it is whole. */
  const torn = new Set<string>();
  for (let slot = 0; slot < table.length; slot += 1) {
    const facts = table.facts[slot];
    if (facts === undefined) continue;
    const head = { host: facts.record.id, name: facts.record.name };
    if (!candidates.isOpen(slot)) hosts.push({ ...head, fits: false, reasons: candidates.reasonsAgainst(slot) });
    else {
      const devices = devicesOn(slot, candidates);
      const numa = cellsOf(candidates, slot);
      if (candidates.tears(slot)) torn.add(head.host);
      const reasons = [
        `${afterwards(candidates, slot)}${numaWords(numa)}`,
        ...(devices === undefined ? [] : [`it would get ${devicesWords(devices)}`]),
      ];
      broken.set(head.host, candidates.preferences?.broken(slot) ?? 0);
      const score = { score: scores.of(slot), parts: scores.parts(slot) };
      hosts.push({ ...head, fits: true, reasons, ...score, ...(numa === undefined ? {} : { numa }) });
    }
  }
  const order = (a: RankedHost, b: RankedHost): number => {
    if (a.fits !== b.fits) return a.fits ? -1 : 1;
    const preferred = (broken.get(a.host) ?? 0) - (broken.get(b.host) ?? 0) || Number(torn.has(a.host)) - Number(torn.has(b.host));
    if (a.score !== undefined && b.score !== undefined) return preferred || b.score - a.score || compareText(a.host, b.host);
    return compareText(a.name, b.name);
  };
  return hosts.sort(order);
}

/** Whether this one host can take the machine now: `[]`, or why not. O(1) in hosts: may be asked for any number of pairs. */
export function refusalsOf(request: PlacementRequest, hostId: string, snapshot: SnapshotIndex): readonly string[] {
  const slot = snapshot.table.find(hostId);
  if (slot === undefined || snapshot.table.facts[slot] === undefined) return ["there is no such host"];
  return failingAt(slot, request, snapshot).map((filter) => hostText(filter, slot));
}

/** Whether the host sleeps and nothing else rules it out: what waits for it goes there once it has been woken. */
export function fitsWhenWoken(request: PlacementRequest, hostId: string, snapshot: SnapshotIndex): boolean {
  const slot = snapshot.table.find(hostId);
  if (slot === undefined || snapshot.table.facts[slot]?.state !== "asleep") return false;
  return failingAt(slot, request, snapshot).every(({ code }) => asleepCodes.has(code));
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function afterwards({ world, preferences }: HostCandidates, slot: number): string {
  const percent = (of: number): number => Math.round(100 * of);
  const promised = `${percent(cpuShare(world, slot))} % of its CPU and ${percent(memoryShare(world, slot))} % of its memory promised with it`;
  const broken = preferences?.told(slot) ?? [];
  return broken.length === 0 ? promised : `${promised}; not as preferred: it ${broken.join(", ")}`;
}
