/**
 * A cluster as the balancing planner sees it, made from the records, the scheduler's snapshot and what agents told of their use; and the plan
 * for it. For the balancing controller and the API, on every server. Changes nothing.
 */
import { ClusterBalancing, type RecordOf } from "@sheaf/model";
import {
  balanceScore,
  moveRefusal,
  planBalance,
  type BalanceHost,
  type BalanceMachine,
  type BalanceMove,
  type BalanceProblem,
  type BalanceScore,
  type PlannedMove,
  type Use,
  type UseBook,
} from "@sheaf/planning";
import { refusalsOf, type SnapshotIndex } from "@sheaf/scheduling";
import type { ControllerContext } from "./context.ts";
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
}

export interface BalanceAdvice extends ClusterBalance {
  readonly moves: readonly PlannedMove[];
  readonly promised: BalanceScore;
}

/** Migrations over a network whose speed is not known: a gigabit. */
const assumedBytesPerSecond = 117e6;

/** Clusters written before balancing was known have none. */
export const balancingOf = (cluster: Cluster): ClusterBalancing => ClusterBalancing.parse(cluster.spec.balancing ?? {});

export function clusterBalance(cluster: Cluster, site: BalanceSite): ClusterBalance {
  const { problem, hosts, unknown } = problemOf(cluster, site);
  return { score: balanceScore(problem), hosts: usesOf(problem, hosts), unknown };
}

export function balanceAdvice(cluster: Cluster, site: BalanceSite): BalanceAdvice {
  const { problem, hosts, vms, unknown } = problemOf(cluster, site);
  const { goal, hotPercent, maximumMoves } = balancingOf(cluster);
  const plan = planBalance(problem, { goal, hotUse: hotPercent / 100, maximumMoves });
  return {
    score: plan.before,
    hosts: usesOf(problem, hosts),
    unknown,
    promised: plan.after,
    moves: plan.moves.flatMap((move) => {
      const [vm, from, to] = [vms[move.machine], hosts[move.from], hosts[move.to]];
      return vm && from && to
        ? [
            {
              vm: vm.id,
              name: vm.name,
              from: from.id,
              to: to.id,
              reason: reasonOf(move, from.name, to.name),
              after: move.after,
              state: "waiting" as const,
            },
          ]
        : [];
    }),
  };
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

function hostOf({ id, spec, status }: Host, own: Use, machines: readonly BalanceMachine[], { agents, snapshot }: BalanceSite): BalanceHost {
  const usage = snapshot.usage(id);
  const [seen, sum] = [status.agent, (figure: (machine: BalanceMachine) => number) => machines.reduce((all, machine) => all + figure(machine), 0)];
  return {
    id,
    cpus: spec.offeredCpus ?? seen?.cpu.count ?? 0,
    memoryBytes: spec.offeredMemoryBytes ?? seen?.memoryBytes ?? 0,
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

function reasonOf({ fromPercent, toPercent }: BalanceMove, from: string, to: string): string {
  const change = ([before, after]: readonly [number, number]): string => `${Math.round(before)} → ${Math.round(after)} %`;
  return `${from} ${change(fromPercent)}, ${to} ${change(toPercent)}`;
}
