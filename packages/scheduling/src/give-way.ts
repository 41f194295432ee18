/**
 * Which preemptible machines would have to be stopped so that a more important one, which fits nowhere, gets a host: as few as possible; of
 * as many, those where the most important of them is least important; then the smaller host id. Every rule is asked as for any
 * placement, with them gone. Pure; the snapshot is left as it was. Called by the preemption controller and for explanations.
 */
import { wishesForDevices, type VmObservation } from "@sheaf/model";
import type { PlacementRequest } from "./placement-request.ts";
import { failingAt } from "./host-candidates.ts";
import type { HostFilter } from "./host-filter.ts";
import { asleepCodes } from "./request-filters.ts";
import { noExtra } from "./promise-weights.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** More than this is no way to make room. */
export const mostVictims = 8;
/** Sets of machines tried for one decision at most; beyond, the best one found so far counts. */
const setsTried = 20_000;

export interface Victim {
  readonly vm: string;
  readonly name: string;
  readonly project: string | undefined;
  readonly priority: number;
}

export interface WayMade {
  /** Id. */
  readonly host: string;
  readonly hostName: string;
  /** Least important first. */
  readonly victims: readonly Victim[];
}

/** `it fits on h3 if a, b give way`; machines of other projects than the asking one's are not named. */
export function wayWords({ hostName, victims }: WayMade, project: string | undefined): string {
  const own = victims.filter((victim) => victim.project === project).map(({ name }) => name);
  const others = victims.length - own.length;
  const all = others === 0 ? own : [...own, others === 1 ? "a machine of another project" : `${others} machines of other projects`];
  return `it fits on ${hostName} if ${all.join(", ")} ${victims.length === 1 ? "gives" : "give"} way`;
}

interface Candidate extends Victim {
  /** What is free without it. */
  readonly cpus: number;
  readonly bytes: number;
}

/** What the host lacks; 0 or less where it has enough. */
interface Lack {
  readonly cpus: number;
  readonly bytes: number;
}

/** @returns `undefined` where no machines that may be asked would make room */
export function giveWay(request: PlacementRequest, snapshot: SnapshotIndex): WayMade | undefined {
  const { table } = snapshot;
  const candidatesOf = candidatesBySlot(request, snapshot);
  if (candidatesOf.size === 0 || isWokenFor(request, snapshot)) return undefined;
  let setsLeft = setsTried;
  let best: { slot: number; victims: readonly Candidate[] } | undefined;
  const hosts = [...candidatesOf]
    .map(([slot, candidates]) => {
      const lack = lackOf(slot, request, snapshot);
      return { slot, candidates, lack, atLeast: fewest(candidates, lack) };
    })
    .filter(({ atLeast }) => atLeast <= mostVictims)
    .sort((a, b) => a.atLeast - b.atLeast || (table.isBefore(a.slot, b.slot) ? -1 : 1));
  for (const { slot, candidates, lack, atLeast } of hosts) {
    if (setsLeft <= 0 || (best !== undefined && atLeast > best.victims.length)) break;
    const fits = (victims: readonly Candidate[]): boolean => {
      setsLeft -= 1;
      return failing(slot, victims, request, snapshot).length === 0;
    };
    // What is wrong without any of them is wrong without some; but for company that it wants.
    if (!failing(slot, candidates, request, snapshot).every(({ code }) => /^(group:)?together/.test(code))) continue;
    const found = fewestVictims({ candidates, lack, atLeast, best: best?.victims, fits, goOn: () => setsLeft > 0 });
    if (
      found !== undefined &&
      (best === undefined || isBetter(found, best.victims) || (!isBetter(best.victims, found) && table.isBefore(slot, best.slot)))
    )
      best = { slot, victims: found };
  }
  if (best === undefined) return undefined;
  const { slot, victims } = best;
  return {
    host: table.ids[slot] ?? "",
    hostName: table.facts[slot]?.record.name ?? "",
    victims: victims.map(({ vm, name, project, priority }) => ({ vm, name, project, priority })),
  };
}

/** Whether a host that sleeps is woken for it: then nobody is stopped. */
function isWokenFor(request: PlacementRequest, snapshot: SnapshotIndex): boolean {
  const { table } = snapshot;
  for (let slot = 0; slot < table.length; slot += 1) {
    if (table.facts[slot]?.state !== "asleep" || !table.wakes(slot)) continue;
    if (failingAt(slot, request, snapshot).every(({ code }) => asleepCodes.has(code))) return true;
  }
  return false;
}

const failing = (slot: number, victims: readonly Candidate[], request: PlacementRequest, snapshot: SnapshotIndex): readonly HostFilter[] =>
  snapshot.without(
    victims.map(({ vm }) => vm),
    () => failingAt(slot, request, snapshot),
  );

const highest = (victims: readonly Victim[]): number => Math.max(...victims.map(({ priority }) => priority));

const isBetter = (a: readonly Victim[], b: readonly Victim[]): boolean => a.length < b.length || (a.length === b.length && highest(a) < highest(b));

/** Whether they stop when they are asked to is not known. */
const unsure: ReadonlySet<string> = new Set<VmObservation["state"]>(["crashed", "failed", "incoming"]);

/** Less important ones by the host that each is on, least important first. Those on the move, and those that give way already, are left alone. */
function candidatesBySlot(request: PlacementRequest, snapshot: SnapshotIndex): Map<number, Candidate[]> {
  const { table } = snapshot;
  const found = new Map<number, Candidate[]>();
  for (const [vm, charge] of snapshot.preemptible()) {
    const [slot] = charge.slots;
    const { priority } = vm.spec;
    if (slot === undefined || charge.slots.length > 1 || priority >= request.priority || vm.id === request.vm) continue;
    if (vm.placement === undefined || vm.deletedAt !== undefined || vm.status.migration !== undefined || vm.status.yield !== undefined) continue;
    // Those with devices keep them, and their room, while they are stopped: nothing would be gained.
    if (wishesForDevices(vm.spec)) continue;
    if (vm.status.agent !== undefined && unsure.has(vm.status.agent.state)) continue;
    const facts = table.facts[slot];
    if (facts === undefined || table.cluster(facts.record.spec.cluster)?.spec.preemption === "off") continue;
    const own = charge.terms === undefined ? noExtra : table.weights.extraOf(slot, [charge.terms], [charge.terms]);
    const bytes = request.hugepages ? charge.hugeBytes : charge.memoryBytes + own.bytes;
    const candidate = { vm: vm.id, name: vm.name, project: vm.project, priority, cpus: charge.cpus + own.cpus, bytes };
    const there = found.get(slot);
    if (there === undefined) found.set(slot, [candidate]);
    else there.push(candidate);
  }
  for (const there of found.values()) there.sort((a, b) => a.priority - b.priority || (a.vm < b.vm ? -1 : 1));
  return found;
}

function lackOf(slot: number, request: PlacementRequest, { table }: SnapshotIndex): Lack {
  const extra = request.terms === undefined ? noExtra : table.weights.extraOf(slot, [request.terms], []);
  const [capacity, used, more] = request.hugepages ? [table.hugeCapacity, table.hugeUsed, 0] : [table.memoryCapacity, table.memoryUsed, extra.bytes];
  return {
    cpus: request.cpus + extra.cpus + (table.cpuUsed[slot] ?? 0) - (table.cpuCapacity[slot] ?? 0),
    bytes: request.memoryBytes + more + (used[slot] ?? 0) - (capacity[slot] ?? 0),
  };
}

/** Sums of what is rounded up are a little less than the sum of it rounded up: bounds are not to be wrong by that. */
const forgiven = { cpus: 0.01, bytes: 64 };

/** No fewer would do; infinite where all together do not. */
function fewest(candidates: readonly Candidate[], lack: Lack): number {
  const needed = (figure: "cpus" | "bytes"): number => {
    let left = lack[figure] - forgiven[figure];
    let count = 0;
    for (const size of candidates.map((candidate) => candidate[figure]).sort((a, b) => b - a)) {
      if (left <= 0) break;
      left -= size;
      count += 1;
    }
    return left <= 0 ? count : Number.POSITIVE_INFINITY;
  };
  return Math.max(1, needed("cpus"), needed("bytes"));
}

interface Search {
  /** Least important first. */
  readonly candidates: readonly Candidate[];
  readonly lack: Lack;
  readonly atLeast: number;
  /** What is to be no worse than. */
  readonly best: readonly Victim[] | undefined;
  readonly fits: (victims: readonly Candidate[]) => boolean;
  readonly goOn: () => boolean;
}

function fewestVictims({ candidates, lack, atLeast, best, fits, goOn }: Search): readonly Candidate[] | undefined {
  const priorities = [...new Set(candidates.map(({ priority }) => priority))];
  const most = Math.min(best?.length ?? mostVictims, candidates.length);
  for (let count = atLeast; count <= most; count += 1) {
    for (const priority of priorities) {
      if (best !== undefined && count === best.length && priority > highest(best)) break;
      const among = candidates.filter((candidate) => candidate.priority <= priority);
      const found = subset(among, count, lack, (victims) => victims.at(-1)?.priority === priority && fits(victims), goOn);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** The first set of so many, in the order of `among`, that is enough and fits. */
function subset(
  among: readonly Candidate[],
  count: number,
  lack: Lack,
  fits: (victims: readonly Candidate[]) => boolean,
  goOn: () => boolean,
): readonly Candidate[] | undefined {
  /** The largest from each place on: what the rest may come to at most. */
  const largest: Lack[] = [];
  for (let at = among.length - 1; at >= 0; at -= 1) {
    const [own, after] = [among[at], largest[at + 1]];
    largest[at] = { cpus: Math.max(own?.cpus ?? 0, after?.cpus ?? 0), bytes: Math.max(own?.bytes ?? 0, after?.bytes ?? 0) };
  }
  const chosen: Candidate[] = [];
  const search = (from: number, left: number, cpus: number, bytes: number): boolean => {
    if (left === 0) return fits(chosen);
    for (let at = from; at <= among.length - left && goOn(); at += 1) {
      const [own, rest] = [among[at], largest[at]];
      if (own === undefined || rest === undefined) return false;
      if (cpus - left * rest.cpus > forgiven.cpus || bytes - left * rest.bytes > forgiven.bytes) return false;
      chosen.push(own);
      if (search(at + 1, left - 1, cpus - own.cpus, bytes - own.bytes)) return true;
      chosen.pop();
    }
    return false;
  };
  return search(0, count, lack.cpus, lack.bytes) ? chosen : undefined;
}
