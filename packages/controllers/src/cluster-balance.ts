/** How evenly a cluster's hosts are used, and which moves would help. For the balancing controller and the API, on every server. Changes nothing. */
import type { AdviceCause, RecordOf } from "@sheaf/model";
import {
  balanceScore,
  mayFreeHost,
  type OrderedMove,
  planBalance,
  type BalanceMove,
  type BalanceProblem,
  type BalanceScore,
  type PlannedMove,
} from "@sheaf/planning";
import { balancingOf, powerOf, problemOf, type BalanceSite, type ClusterProblem } from "./cluster-problem.ts";
import { freeingAdvice } from "./freeing-advice.ts";
import { lastingHindrance, volumesHeldAlone } from "./sleep-hindrance.ts";
import { callsForMoves, needfulMoves } from "./needful-moves.ts";

type Cluster = RecordOf<"cluster">;
type Host = RecordOf<"host">;

export interface ClusterBalance {
  /** Now. */
  readonly score: BalanceScore;
  /** The same within the hours to come, each host at its busiest; what plans are made for. Absent: habits are not known, or not asked for. */
  readonly expected?: BalanceScore;
  readonly hosts: readonly { readonly host: string; readonly name: string; readonly cpuPercent: number; readonly memoryPercent: number }[];
  /** Hosts whose use is not known: nothing is moved from or to them. */
  readonly unknown: readonly string[];
  /** Goal `consolidate`: a host may come free, as far as sums tell. */
  readonly freeable: boolean;
  /** Rules are broken, or a machine waits for room. */
  readonly needful: boolean;
}

export interface BalanceAdvice extends Omit<ClusterBalance, "freeable" | "needful"> {
  readonly moves: readonly PlannedMove[];
  /** What the plan was made for: the hours to come counted, where they are known. */
  readonly before: BalanceScore;
  readonly promised: BalanceScore;
  /** Names of hosts that come free: goal `consolidate`. */
  readonly frees: readonly string[];
  /** Absent: it is how hosts are used. */
  readonly cause?: AdviceCause;
}

/** @param seen where it is known already */
export function clusterBalance(cluster: Cluster, site: BalanceSite, seen: ClusterProblem = problemOf(cluster, site)): ClusterBalance {
  const { problem, hosts, unknown } = seen;
  const { targetUse, spareHosts } = freeingLimits(cluster);
  const freeable = balancingOf(cluster).goal === "consolidate" && mayFreeHost(problem, targetUse, spareHosts);
  const needful = callsForMoves(cluster, site, seen);
  return { ...scoresOf(problem), freeable, needful, hosts: usesOf(problem, hosts), unknown };
}

/** What counts for plans: the hours to come too, where they are known. */
export const plannedScore = ({ score, expected }: Pick<ClusterBalance, "score" | "expected">): BalanceScore => expected ?? score;

function scoresOf(problem: BalanceProblem): Pick<ClusterBalance, "score" | "expected"> {
  if ((problem.hoursAhead ?? 0) === 0) return { score: balanceScore(problem) };
  return { score: balanceScore({ ...problem, hoursAhead: 0 }), expected: balanceScore(problem) };
}

/** What consolidation keeps to: never above what makes a host hot. */
function freeingLimits(cluster: Cluster, most = Infinity) {
  const [{ hotPercent, maximumMoves }, { targetPercent, spareHosts }] = [balancingOf(cluster), powerOf(cluster)];
  const targetUse = Math.min(targetPercent, hotPercent) / 100;
  return { targetUse, spareHosts, maximumMoves: Math.min(most, maximumMoves) };
}

/** Where what comes free is put to sleep, only what may sleep is emptied. */
function emptiable(cluster: Cluster, { cache }: BalanceSite): (host: Host) => boolean {
  if (powerOf(cluster).mode === "off") return () => true;
  const volumes = volumesHeldAlone(cache);
  return (host) => lastingHindrance(host, volumes) === null;
}

export interface AdviceWanted {
  /** As the cluster is; absent: as it is now. */
  readonly seen?: ClusterProblem;
  /** Moves; never more than the cluster allows. */
  readonly most?: number;
  /** Nothing but what broken rules and waiting machines call for. */
  readonly needfulOnly?: boolean;
}

export function balanceAdvice(cluster: Cluster, site: BalanceSite, wanted: AdviceWanted = {}): BalanceAdvice {
  const { seen = problemOf(cluster, site), most = Infinity, needfulOnly = false } = wanted;
  const { problem, hosts, unknown } = seen;
  const { goal, hotPercent, maximumMoves } = balancingOf(cluster);
  const scores = scoresOf(problem);
  const before = plannedScore(scores);
  const needful = needfulMoves(cluster, site, seen, { hotUse: hotPercent / 100, maximumMoves: Math.min(most, maximumMoves) });
  if (needful) {
    const { cause, moves, reason } = needful;
    const promised = scoreAfter(problem, moves);
    return { ...scores, before, hosts: usesOf(problem, hosts), unknown, promised, moves: planned(seen, moves, reason), frees: [], cause };
  }
  if (needfulOnly) return { ...scores, before, hosts: usesOf(problem, hosts), unknown, promised: before, moves: [], frees: [] };
  // What is too hot comes first: hosts come free where nothing is.
  if (goal === "consolidate" && before.hottestPercent <= hotPercent) {
    const { moves, freed } = freeingAdvice({
      ...seen,
      ...freeingLimits(cluster, most),
      mayEmpty: emptiable(cluster, site),
      cluster,
      snapshot: site.snapshot,
    });
    const name = (host: number): string => hosts[host]?.name ?? "";
    return {
      ...scores,
      before,
      hosts: usesOf(problem, hosts),
      unknown,
      promised: scoreAfter(problem, moves),
      moves: planned(seen, moves, (move) => `${name(move.from)} comes free; ${name(move.to)} ${told(move.toPercent)}`),
      frees: freed.map(name),
    };
  }
  const plan = planBalance(problem, {
    goal: goal === "consolidate" ? "hot-spots" : goal,
    hotUse: hotPercent / 100,
    maximumMoves: Math.min(most, maximumMoves),
  });
  return {
    ...scores,
    before: plan.before,
    hosts: usesOf(problem, hosts),
    unknown,
    promised: plan.after,
    moves: planned(seen, plan.moves, (move) => reasonOf(move, hosts[move.from]?.name ?? "", hosts[move.to]?.name ?? "") + aheadOf(seen)),
    frees: [],
  };
}

function planned<M extends OrderedMove>({ vms, hosts }: ClusterProblem, moves: readonly M[], reason: (move: M) => string): PlannedMove[] {
  return moves.flatMap((move) => {
    const [vm, from, to] = [vms[move.machine], hosts[move.from], hosts[move.to]];
    if (!vm || !from || !to) return [];
    return [{ vm: vm.id, name: vm.name, from: from.id, to: to.id, reason: reason(move), after: move.after, state: "waiting" as const }];
  });
}

function scoreAfter(problem: BalanceProblem, moves: readonly OrderedMove[]): BalanceScore {
  const hostOf = problem.machines.map(({ host }) => host);
  for (const { machine, to } of moves) hostOf[machine] = to;
  return balanceScore({ ...problem, machines: problem.machines.map((machine, index) => ({ ...machine, host: hostOf[index] ?? machine.host })) });
}

function usesOf({ hosts, machines }: BalanceProblem, records: readonly Host[]): ClusterBalance["hosts"] {
  const uses = hosts.map(({ usedCpus, usedMemoryBytes }) => ({ cpus: usedCpus, memoryBytes: usedMemoryBytes }));
  for (const { host, usedCpus, usedMemoryBytes } of machines) {
    const use = uses[host];
    if (!use) continue;
    use.cpus += usedCpus;
    use.memoryBytes += usedMemoryBytes;
  }
  return records.map(({ id, name }, index) => ({
    host: id,
    name,
    cpuPercent: percent(uses[index]?.cpus ?? 0, hosts[index]?.cpus ?? 0),
    memoryPercent: percent(uses[index]?.memoryBytes ?? 0, hosts[index]?.memoryBytes ?? 0),
  }));
}

const percent = (used: number, offered: number): number => (offered > 0 ? Math.round((1000 * used) / offered) / 10 : 0);

const told = ([before, after]: readonly [number, number]): string => `${Math.round(before)} → ${Math.round(after)} %`;
const reasonOf = ({ fromPercent, toPercent }: BalanceMove, from: string, to: string): string =>
  `${from} ${told(fromPercent)}, ${to} ${told(toPercent)}`;

/** Of which hours the figures are, where they are not of the present alone. */
function aheadOf({ ahead }: ClusterProblem): string {
  const hours = ahead.map((at) => `${String(Math.floor(at / 3_600_000) % 24).padStart(2, "0")}:00`);
  return hours.length === 0 ? "" : `; the busiest of now and ${[...new Set(hours)].toSorted().join(", ")} UTC`;
}
