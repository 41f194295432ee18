/**
 * Advice for a cluster that was made earlier, looked at with the cluster as it is now: whether it still is what it was, and why balancing by itself
 * would not act on it now. For the balancing controller and the API, on every server. Changes nothing.
 */
import { standingDismissals, type AdviceCause, type AdvisedMove, type ClusterAdvice, type RecordOf } from "@sheaf/model";
import { closedWindows, judgeMoves, MoveBudget, movesOutdated, type BegunMove, type PlannedMove } from "@sheaf/planning";
import { causeGone } from "./needful-moves.ts";
import { balancingOf, problemOf, type BalanceSite, type ClusterProblem } from "./cluster-problem.ts";

type Cluster = RecordOf<"cluster">;

/** Moves, and what was promised of them. */
export interface MadeAdvice extends Pick<ClusterAdvice, "before" | "promised"> {
  readonly moves: readonly AdvisedMove[];
  readonly frees: readonly string[];
  readonly cause?: AdviceCause | undefined;
}

/** Why what was read is not what would be done; `null`: it is. */
export function adviceOutdated(
  cluster: Cluster,
  advice: MadeAdvice,
  site: BalanceSite,
  seen: ClusterProblem = problemOf(cluster, site),
): string | null {
  const { problem, hosts, vms } = seen;
  const [hostIndex, vmIndex] = [indexOf(hosts), indexOf(vms)];
  const moves = advice.moves.map(({ vm, from, to }) => ({ machine: vmIndex(vm), from: hostIndex(from), to: hostIndex(to) }));
  const judged = judgeMoves(problem, moves, balancingOf(cluster).hotPercent / 100);
  const [first] = judged.impossible;
  // What frees hosts makes use less even, on purpose.
  if (advice.frees.length > 0 && !first) return notFreed(advice, seen);
  if (advice.cause && !first)
    return causeGone(
      advice.cause,
      vms.filter(({ id }) => advice.moves.some(({ vm }) => vm === id)),
      site,
    );
  const why = movesOutdated(judged, { before: advice.before, after: advice.promised });
  const name = first && judged.impossible.length === 1 ? advice.moves[first.move]?.name : undefined;
  return why !== null && name !== undefined ? `${name}: ${why}` : why;
}

/** What was to come free and would not. */
function notFreed({ frees, moves }: MadeAdvice, { hosts, vms }: ClusterProblem): string | null {
  const leave = new Set(moves.map(({ vm }) => vm));
  const freed = new Map(hosts.filter(({ name }) => frees.includes(name)).map(({ id, name }) => [id, name]));
  const stays = vms.find(({ id, placement }) => freed.has(placement?.host ?? "") && !leave.has(id));
  return stays ? `host ${freed.get(stays.placement?.host ?? "")} would not come free: ${stays.name} is there as well` : null;
}

/** Why a cluster in automatic mode moves nothing at this moment; `null`: it may. */
export function notNow(cluster: Cluster, { cache, clock }: Pick<BalanceSite, "cache" | "clock">): string | null {
  const settings = balancingOf(cluster);
  if (settings.mode !== "automatic") return null;
  return closedWindows(settings.windows, clock.now()) ?? budgetOf(cluster, { cache, clock }).spent;
}

/** What balancing may begin in this cluster now. O(tasks), where there is a limit. */
export function budgetOf(cluster: Cluster, { cache, clock }: Pick<BalanceSite, "cache" | "clock">): MoveBudget {
  const settings = balancingOf(cluster);
  const begun: BegunMove[] = [];
  if (MoveBudget.isLimited(settings))
    for (const task of cache.all("task"))
      if (task.spec.verb === "balance" && task.spec.target.id === cluster.id)
        for (const { from, to, begunAt } of movesOf(task)) if (begunAt !== undefined) begun.push({ from, to, at: begunAt });
  return new MoveBudget(settings, begun, clock.now());
}

/** Of a plan that is carried out: how far they are. */
export function movesOf({ spec, status }: RecordOf<"task">): readonly PlannedMove[] {
  const kept = status.controller?.result?.["moves"] ?? spec.parameters["moves"];
  return Array.isArray(kept) ? (kept as PlannedMove[]) : []; // written by the balancing controller and the API alone
}

/** The advice that stands in the cluster's record, without moves that were dismissed meanwhile; absent: there is none. */
export function keptAdvice({ status }: Cluster, { cache, clock }: Pick<BalanceSite, "cache" | "clock">): ClusterAdvice | undefined {
  const { advice, dismissals } = status;
  if (!advice) return undefined;
  const dismissed = new Set(standingDismissals(dismissals, clock.now(), (id) => cache.get("vm", id)?.placement?.host).map(({ vm }) => vm));
  return advice.moves.some(({ vm }) => dismissed.has(vm)) ? undefined : advice;
}

export const asAdvised = ({ vm, name, from, to, reason, after }: PlannedMove): AdvisedMove => ({ vm, name, from, to, reason, after: [...after] });
export const asPlanned = ({ vm, name, from, to, reason, after }: AdvisedMove): PlannedMove => ({
  vm,
  name,
  from,
  to,
  reason,
  after,
  state: "waiting",
});

function indexOf(records: readonly { readonly id: string }[]): (id: string) => number {
  const indexes = new Map(records.map(({ id }, index) => [id, index]));
  return (id) => indexes.get(id) ?? -1;
}
