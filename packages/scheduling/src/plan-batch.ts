/**
 * Decides many machines on one snapshot, changed as each decision is made. Important and large ones first; machines that must
 * be together are first given a host with room for all of them, so that none is left behind.
 */
import { place, placeAll, refusalsOf } from "./place.ts";
import type { PlacementDecision } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { spread } from "./policies/spread.ts";
import type { ScoringPolicy } from "./scoring-policy.ts";
import type { SnapshotIndex } from "./snapshot.ts";
import { StandingHosts } from "./standing-hosts.ts";

export interface BatchDecision {
  readonly request: PlacementRequest;
  readonly decision: PlacementDecision;
}

/**
 * Chosen hosts are reserved in `snapshot`: `release` those whose transaction fails. A request already charged to a host keeps
 * that charge besides. @returns decisions in the order of `requests`
 */
export function planBatch(requests: readonly PlacementRequest[], snapshot: SnapshotIndex, policy: ScoringPolicy = spread): BatchDecision[] {
  const decisions = new Map<PlacementRequest, PlacementDecision>();
  const standing = new StandingHosts(snapshot);
  const gangs = new Map<string, PlacementRequest[]>();
  for (const request of requests) {
    if (request.together === undefined || snapshot.membersTogether(request.together) > 0) continue;
    const gang = gangs.get(request.together);
    if (gang === undefined) gangs.set(request.together, [request]);
    else gang.push(request);
  }
  for (const request of [...requests].sort(byImportance)) {
    if (decisions.has(request)) continue;
    const gang = request.together === undefined ? undefined : gangs.get(request.together);
    if (gang !== undefined && gang.length > 1) placeGang(gang, snapshot, policy, standing, decisions);
    else decide(request, place(request, snapshot, policy, standing), snapshot, decisions);
  }
  return requests.map((request) => ({
    request,
    decision: decisions.get(request) ?? place(request, snapshot, policy, standing), // every request was decided above
  }));
}

function placeGang(
  gang: readonly PlacementRequest[],
  snapshot: SnapshotIndex,
  policy: ScoringPolicy,
  standing: StandingHosts,
  decisions: Map<PlacementRequest, PlacementDecision>,
): void {
  const common = placeAll(gang, snapshot, policy, standing);
  for (const request of gang) {
    if (common.none) {
      decisions.set(request, { ...common, reason: `${common.reason}, for all ${gang.length} machines that stay together` });
      continue;
    }
    // Members may exclude each other (together and apart at once): each is looked at again.
    const refusals = refusalsOf(request, common.host, snapshot);
    decide(request, refusals.length === 0 ? common : place(request, snapshot, policy, standing), snapshot, decisions);
  }
}

function decide(
  request: PlacementRequest,
  decision: PlacementDecision,
  snapshot: SnapshotIndex,
  decisions: Map<PlacementRequest, PlacementDecision>,
): void {
  decisions.set(request, decision);
  if (!decision.none) snapshot.reserve(request, decision.host);
}

function byImportance(a: PlacementRequest, b: PlacementRequest): number {
  return b.priority - a.priority || b.memoryBytes - a.memoryBytes || b.cpus - a.cpus || (a.vm < b.vm ? -1 : a.vm > b.vm ? 1 : 0);
}
