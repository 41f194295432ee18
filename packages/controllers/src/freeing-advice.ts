/**
 * Which hosts of a cluster could come free (goal `consolidate` of balancing), as the planner finds it and the scheduler's own picture confirms:
 * every move is tried there in its order, both hosts charged, so that no rule is broken that the planner does not know. Changes nothing.
 */
import { type FreeingMove, planFreeing, type BalanceProblem } from "@sheaf/planning";
import { failOverRoom, refusalsOf, type PlacementRequest, type SnapshotIndex } from "@sheaf/scheduling";
import type { RecordOf } from "@sheaf/model";

export interface FreeingQuestion {
  readonly problem: BalanceProblem;
  /** By index of the problem. */
  readonly hosts: readonly RecordOf<"host">[];
  readonly vms: readonly RecordOf<"vm">[];
  readonly cluster: RecordOf<"cluster">;
  readonly snapshot: SnapshotIndex;
  readonly targetUse: number;
  readonly spareHosts: number;
  readonly maximumMoves: number;
  readonly mayEmpty: (host: RecordOf<"host">) => boolean;
}

export interface FreeingAdvice {
  readonly moves: readonly FreeingMove[];
  /** Indexes of the problem. */
  readonly freed: readonly number[];
}

/** A plan is made anew without what the scheduler refuses; what is still refused then is not proposed. */
const mostTries = 12;

export function freeingAdvice(question: FreeingQuestion): FreeingAdvice {
  const { problem, hosts, mayEmpty, targetUse, spareHosts, maximumMoves } = question;
  const kept = new Set<number>();
  let maximumHosts = hosts.length;
  for (let tries = 0; tries < mostTries && maximumHosts > 0; tries += 1) {
    const { moves, freed } = planFreeing(problem, {
      targetUse,
      spareHosts,
      maximumMoves,
      maximumHosts,
      mayEmpty: (host) => !kept.has(host) && hosts[host] !== undefined && mayEmpty(hosts[host]),
    });
    if (moves.length === 0) break;
    const wrong = tryOut(question, moves, freed);
    if (wrong === "fits") return { moves, freed };
    // A tenth fewer each time, while the room for the loss of hosts would be missing.
    if (wrong === "no room left") maximumHosts = Math.floor(0.9 * Math.min(maximumHosts, freed.length));
    else for (const move of wrong) kept.add(move.from);
  }
  return { moves: [], freed: [] };
}

/** @returns the moves that the scheduler refuses, where it does */
function tryOut(
  { hosts, vms, cluster, snapshot }: FreeingQuestion,
  moves: readonly FreeingMove[],
  freed: readonly number[],
): "fits" | "no room left" | readonly FreeingMove[] {
  const reserved: PlacementRequest[] = [];
  const before = failOverRoom(snapshot, cluster.id);
  try {
    const refused = moves.filter((move) => {
      const [vm, target] = [vms[move.machine], hosts[move.to]];
      if (!vm || !target) return true;
      const request = snapshot.request(vm, "move");
      if (refusalsOf(request, target.id, snapshot).length > 0) return true;
      snapshot.reserve(request, target.id);
      reserved.push(request);
      return false;
    });
    if (refused.length > 0) return refused;
    const after = before && failOverRoom(snapshot, cluster.id, new Set(freed.flatMap((host) => hosts[host]?.id ?? [])));
    // Where it is missing already nothing makes it less.
    return after && after.spareMemoryBytes < Math.min(0, before.spareMemoryBytes) ? "no room left" : "fits";
  } finally {
    for (const request of reserved) snapshot.release(request);
  }
}
