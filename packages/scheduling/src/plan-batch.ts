/**
 * Decides many machines on one snapshot, changed as each decision is made. Important and large ones first; machines that must
 * be together are first given a host with room for all of them, so that none is left behind; those that ask for the same are one run.
 */
import { type PlacementPolicy, wishesForDevices } from "@sheaf/model";
import { alikeKey, AlikeRun } from "./alike-run.ts";
import { place, placeAll, refusalsOf } from "./place.ts";
import type { Chosen, PlacementDecision } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export interface BatchDecision {
  readonly request: PlacementRequest;
  readonly decision: PlacementDecision;
}

/**
 * Chosen hosts are reserved in `snapshot`: `release` those whose transaction fails. A request already charged to a host keeps
 * that charge besides. @returns decisions in the order of `requests`
 */
export function planBatch(requests: readonly PlacementRequest[], snapshot: SnapshotIndex, policy?: PlacementPolicy): BatchDecision[] {
  const refused = new Map<PlacementRequest, PlacementDecision>();
  for (const { members, size, name } of gangsOf(requests)) {
    const there = members.length + (snapshot.gangs.get(name) ?? 0);
    const reason = `it waits for the other machines of gang ${shortName(name)}: ${there} of ${size} are there`;
    if (there < size) for (const member of members) refused.set(member, { none: true, reason, classes: [] });
  }
  for (;;) {
    const asked = requests.filter((request) => !refused.has(request));
    const decided = new Batch(asked, snapshot, policy).decide();
    const broken = brokenGang(decided);
    if (broken === undefined) {
      const decisions = new Map(decided.map(({ request, decision }) => [request, decision]));
      return requests.flatMap((request) => {
        const decision = decisions.get(request) ?? refused.get(request);
        return decision === undefined ? [] : [{ request, decision }]; // each is in one of them
      });
    }
    // What it would have taken is there for the others.
    for (const { request, decision } of decided) if (!decision.none) snapshot.release(request);
    for (const [request, decision] of broken) refused.set(request, decision);
  }
}

interface MembersOfGang {
  readonly name: string;
  readonly size: number;
  readonly members: readonly PlacementRequest[];
}

function gangsOf(requests: readonly PlacementRequest[]): MembersOfGang[] {
  const gangs = new Map<string, { name: string; size: number; members: PlacementRequest[] }>();
  for (const request of requests) {
    if (request.gang === undefined) continue;
    const { name, size } = request.gang;
    const gang = gangs.get(name) ?? { name, size, members: [] };
    gangs.set(name, gang);
    gang.size = Math.max(gang.size, size);
    gang.members.push(request);
  }
  return [...gangs.values()];
}

/** The decisions of a gang of which not all got a host: none does. */
function brokenGang(decided: readonly BatchDecision[]): (readonly [PlacementRequest, PlacementDecision])[] | undefined {
  const bad = decided.find(({ request, decision }) => request.gang !== undefined && decision.none);
  const gang = bad?.request.gang;
  if (bad === undefined || gang === undefined || !bad.decision.none) return undefined;
  const members = decided.filter(({ request }) => request.gang?.name === gang.name);
  const fitting = members.filter(({ decision }) => !decision.none).length;
  const reason = `${bad.decision.reason}; ${fitting} of the ${members.length} machines of gang ${shortName(gang.name)} would fit, and they start all or none`;
  const decision: PlacementDecision = { ...bad.decision, reason };
  return members.map(({ request }) => [request, decision] as const);
}

const shortName = (gang: string): string => gang.slice(gang.indexOf("/") + 1);

class Batch {
  readonly #requests: readonly PlacementRequest[];
  readonly #snapshot: SnapshotIndex;
  readonly #policy: PlacementPolicy | undefined;
  readonly #decisions = new Map<PlacementRequest, PlacementDecision>();

  constructor(requests: readonly PlacementRequest[], snapshot: SnapshotIndex, policy: PlacementPolicy | undefined) {
    this.#requests = requests;
    this.#snapshot = snapshot;
    this.#policy = policy;
  }

  decide(): BatchDecision[] {
    const gangs = this.#gangs();
    const sorted = [...this.#requests].sort(byImportance);
    const keys = sorted.map((request) => alikeKey(request, this.#snapshot));
    for (let from = 0; from < sorted.length; from += 1) {
      const request = sorted[from];
      if (request === undefined || this.#decisions.has(request)) continue;
      const gang = gangs.get(gangOf(request, this.#snapshot) ?? "");
      if (gang !== undefined && gang.length > 1) {
        this.#placeGang(gang);
        continue;
      }
      let to = from + 1;
      while (keys[from] !== null && keys[to] === keys[from]) to += 1;
      this.#placeAlike(sorted.slice(from, to));
    }
    return this.#requests.map((request) => ({
      request,
      decision: this.#decisions.get(request) ?? place(request, this.#snapshot, this.#policy), // every request was decided above
    }));
  }

  #gangs(): Map<string, PlacementRequest[]> {
    const gangs = new Map<string, PlacementRequest[]>();
    for (const request of this.#requests) {
      const key = gangOf(request, this.#snapshot);
      if (key === undefined) continue;
      const gang = gangs.get(key);
      if (gang === undefined) gangs.set(key, [request]);
      else gang.push(request);
    }
    return gangs;
  }

  #placeAlike(requests: readonly PlacementRequest[]): void {
    const [first] = requests;
    const run = first !== undefined && requests.length > 1 ? AlikeRun.of(first, this.#snapshot, this.#policy) : undefined;
    for (const request of requests) {
      const decision = run?.next() ?? place(request, this.#snapshot, this.#policy);
      this.#keep(request, decision);
      if (!decision.none) run?.placed(decision.host);
    }
  }

  #placeGang(gang: readonly PlacementRequest[]): void {
    const common = placeAll(gang, this.#snapshot, this.#policy);
    for (const request of gang) {
      if (common.none) {
        this.#decisions.set(request, { ...common, reason: `${common.reason}, for all ${gang.length} machines that stay together` });
        continue;
      }
      // Members may exclude each other (together and apart at once): each is looked at again.
      const refusals = refusalsOf(request, common.host, this.#snapshot);
      this.#keep(request, refusals.length === 0 ? this.#withDevices(common, request) : place(request, this.#snapshot, this.#policy));
    }
  }

  /** Each its own of the host that all share. */
  #withDevices(common: Chosen, request: PlacementRequest): PlacementDecision {
    return wishesForDevices(request) ? place({ ...request, host: common.host }, this.#snapshot, this.#policy) : common;
  }

  #keep(request: PlacementRequest, decision: PlacementDecision): void {
    if (decision.none) return void this.#decisions.set(request, decision);
    const { numa: _before, ...rest } = decision;
    const numa = this.#snapshot.reserve(request, decision.host, decision.devices);
    this.#decisions.set(request, numa === undefined ? rest : { ...rest, numa });
  }
}

/** Names those that share a host with it, none of which has one yet. */
function gangOf(request: PlacementRequest, snapshot: SnapshotIndex): string | undefined {
  const { together } = request;
  if (together !== undefined)
    return snapshot.together.total(together, (slot) => snapshot.table.isLeft(slot)) > 0 ? undefined : `together ${together}`;
  const rule = snapshot.groups.binding(request.rules).find(({ keep, within }) => keep === "together" && within === "host");
  if (rule === undefined) return undefined;
  for (const slot of snapshot.groups.slots(rule.group)) if (!snapshot.table.isLeft(slot)) return undefined;
  return `group ${rule.group}`;
}

function byImportance(a: PlacementRequest, b: PlacementRequest): number {
  return b.priority - a.priority || b.memoryBytes - a.memoryBytes || b.cpus - a.cpus || (a.vm < b.vm ? -1 : a.vm > b.vm ? 1 : 0);
}
