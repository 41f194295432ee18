/**
 * A cluster as the balancing planner sees it, made from the records, the scheduler's snapshot and what agents told of their use; and the plan
 * for it. For the balancing controller and the API, on every server. Changes nothing.
 */
import { ClusterBalancing, ClusterPower, type RecordOf } from "@sheaf/model";
import {
  balanceScore,
  moveRefusal,
  planBalance,
  type BalanceHost,
  type BalanceMachine,
  type BalanceMove,
  type BalanceProblem,
  type BalanceScore,
  mayFreeHost,
  type OrderedMove,
  type PlannedMove,
  type Use,
  type UseBook,
} from "@sheaf/planning";
import { refusalsOf, type SnapshotIndex } from "@sheaf/scheduling";
import type { ControllerContext } from "./context.ts";
import { freeingAdvice } from "./freeing-advice.ts";
import { offered } from "./host-use.ts";
import { volumesOf } from "./records.ts";

type Cluster = RecordOf<"cluster">;
type Host = RecordOf<"host">;
type Vm = RecordOf<"vm">;

export interface BalanceSite extends Pick<ControllerContext, "cache" | "clock" | "agents"> {
  readonly snapshot: SnapshotIndex;
  readonly book: UseBook;
}

export interface ClusterBalance {
  readonly score: BalanceScore;
  readonly hosts: readonly { readonly host: string; readonly name: string; readonly cpuPercent: number; readonly memoryPercent: number }[];
  /** Hosts whose use is not known: nothing is moved from or to them. */
  readonly unknown: readonly string[];
  /** Goal `consolidate`: a host may come free, as far as sums tell. */
  readonly freeable: boolean;
}

export interface BalanceAdvice extends Omit<ClusterBalance, "freeable"> {
  readonly moves: readonly PlannedMove[];
  readonly promised: BalanceScore;
  /** Names of hosts that come free: goal `consolidate`. */
  readonly frees: readonly string[];
}

/** Migrations over a network whose speed is not known: a gigabit. */
const assumedBytesPerSecond = 117e6;

/** Clusters written before balancing was known have none. */
export const balancingOf = (cluster: Cluster): ClusterBalancing => ClusterBalancing.parse(cluster.spec.balancing ?? {});

/** The same for how they sleep. */
export const powerOf = (cluster: Cluster): ClusterPower => ClusterPower.parse(cluster.spec.power ?? {});

export function clusterBalance(cluster: Cluster, site: BalanceSite): ClusterBalance {
  const { problem, hosts, unknown } = problemOf(cluster, site);
  const { targetUse, spareHosts } = freeingLimits(cluster);
  const freeable = balancingOf(cluster).goal === "consolidate" && mayFreeHost(problem, targetUse, spareHosts);
  return { score: balanceScore(problem), freeable, hosts: usesOf(problem, hosts), unknown };
}

/** What consolidation keeps to: never above what makes a host hot. */
function freeingLimits(cluster: Cluster) {
  const [{ hotPercent, maximumMoves }, { targetPercent, spareHosts }] = [balancingOf(cluster), powerOf(cluster)];
  return { targetUse: Math.min(targetPercent, hotPercent) / 100, spareHosts, maximumMoves, mayEmpty: () => true };
}

export function balanceAdvice(cluster: Cluster, site: BalanceSite): BalanceAdvice {
  const made = problemOf(cluster, site);
  const { problem, hosts, unknown } = made;
  const { goal, hotPercent, maximumMoves } = balancingOf(cluster);
  const score = balanceScore(problem);
  // What is too hot comes first: hosts come free where nothing is.
  if (goal === "consolidate" && score.hottestPercent <= hotPercent) {
    const { moves, freed } = freeingAdvice({ ...made, ...freeingLimits(cluster), cluster, snapshot: site.snapshot });
    const name = (host: number): string => hosts[host]?.name ?? "";
    return {
      score,
      hosts: usesOf(problem, hosts),
      unknown,
      promised: scoreAfter(problem, moves),
      moves: planned(made, moves, (move) => `${name(move.from)} comes free; ${name(move.to)} ${told(move.toPercent)}`),
      frees: freed.map(name),
    };
  }
  const plan = planBalance(problem, { goal: goal === "consolidate" ? "hot-spots" : goal, hotUse: hotPercent / 100, maximumMoves });
  return {
    score: plan.before,
    hosts: usesOf(problem, hosts),
    unknown,
    promised: plan.after,
    moves: planned(made, plan.moves, (move) => reasonOf(move, hosts[move.from]?.name ?? "", hosts[move.to]?.name ?? "")),
    frees: [],
  };
}

function planned<M extends OrderedMove>({ vms, hosts }: Problem, moves: readonly M[], reason: (move: M) => string): PlannedMove[] {
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

interface Problem {
  readonly problem: BalanceProblem;
  /** By index of the problem. */
  readonly hosts: readonly Host[];
  readonly vms: readonly Vm[];
  readonly unknown: readonly string[];
}

function problemOf(cluster: Cluster, site: BalanceSite): Problem {
  const { cache, clock, snapshot, book } = site;
  const now = clock.monotonic();
  const hosts: Host[] = [];
  const unknown: string[] = [];
  const own: Use[] = [];
  const members = [...cache.all("host")].filter((host) => host.spec.cluster === cluster.id && host.deletedAt === undefined);
  for (const host of members.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const use = book.host(host.id, now);
    if (use === undefined || !host.status.agent || !snapshot.usage(host.id)) unknown.push(host.name);
    else {
      hosts.push(host);
      own.push(use);
    }
  }
  const indexOf = new Map(hosts.map(({ id }, index) => [id, index]));
  const here = [...cache.all("vm")].filter((vm) => indexOf.has(vm.placement?.host ?? "") && book.machine(vm.id, now) !== undefined);
  const vms = here.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const { pauseMinutes } = balancingOf(cluster);
  const { bandwidthBytesPerSecond } = cluster.spec.migration;
  const machines = vms.map((vm): BalanceMachine => {
    const use = book.machine(vm.id, now) ?? { cpus: 0, memoryBytes: 0 };
    const { cpu, memory, placement } = vm.spec;
    return {
      id: vm.id,
      host: indexOf.get(vm.placement?.host ?? "") ?? 0,
      usedCpus: use.cpus,
      usedMemoryBytes: use.memoryBytes,
      promisedCpus: cpu.count,
      promisedMemoryBytes: memory.hugepages ? 0 : memory.bytes,
      moveSeconds: use.memoryBytes / (bandwidthBytesPerSecond || assumedBytesPerSecond),
      movable: placement.settled !== true && !movedLately(vm, pauseMinutes, clock.now()) && mayLeave(vm, site),
      ...(placement.apart === undefined ? {} : { apart: placement.apart }),
    };
  });
  const known = hosts.map((host, index) =>
    hostOf(
      host,
      own[index] ?? { cpus: 0, memoryBytes: 0 },
      machines.filter((machine) => machine.host === index),
      site,
    ),
  );
  const mayRun = (machine: number, host: number): boolean => {
    const [vm, target] = [vms[machine], hosts[host]];
    return vm !== undefined && target !== undefined && refusalsOf(snapshot.request(vm, "move"), target.id, snapshot).length === 0;
  };
  return { problem: { hosts: known, machines, mayRun }, hosts, vms, unknown };
}

function hostOf(host: Host, own: Use, machines: readonly BalanceMachine[], { agents, snapshot }: BalanceSite): BalanceHost {
  const { id, spec, status } = host;
  const usage = snapshot.usage(id);
  const sum = (figure: (machine: BalanceMachine) => number): number => machines.reduce((all, machine) => all + figure(machine), 0);
  return {
    id,
    ...offered(host),
    usedCpus: own.cpus,
    usedMemoryBytes: own.memoryBytes,
    // What is promised to machines that are not looked at here (they are stopped) is taken.
    promisableCpus: (usage?.cpuCapacity ?? 0) - (usage?.cpuUsed ?? 0) + sum(({ promisedCpus }) => promisedCpus),
    promisableMemoryBytes: (usage?.memoryCapacityBytes ?? 0) - (usage?.memoryUsedBytes ?? 0) + sum(({ promisedMemoryBytes }) => promisedMemoryBytes),
    open: spec.schedulable === "open" && status.liveness?.state === "ready" && agents.connected(id),
  };
}

function mayLeave(vm: Vm, { cache, agents }: BalanceSite): boolean {
  const host = vm.placement?.host ?? "";
  if (vm.status.agent?.state !== "running" || vm.status.migration !== undefined) return false;
  return moveRefusal(vm, agents.connected(host), volumesOf(vm, cache), (id) => cache.get("pool", id)) === null;
}

/** Wherever it moved from, and by whomever. */
function movedLately({ placement }: Vm, pauseMinutes: number, now: number): boolean {
  return placement !== undefined && placement.epoch > 1 && now - placement.at < pauseMinutes * 60_000;
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
