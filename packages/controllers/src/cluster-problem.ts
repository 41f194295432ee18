/**
 * A cluster as the balancing planner sees it, made from the records, the scheduler's snapshot and the book of use. For what is said of a cluster's
 * balance and planned for it. Changes nothing.
 */
import { ClusterBalancing, ClusterPower, standingDismissals, type RecordOf } from "@sheaf/model";
import { lookAhead, moveRefusal, type BalanceHost, type BalanceMachine, type BalanceProblem, type Use, type UseBook } from "@sheaf/planning";
import { refusalsOf, type SnapshotIndex } from "@sheaf/scheduling";
import type { ControllerContext } from "./context.ts";
import { offered } from "./host-use.ts";
import { volumesOf } from "./records.ts";

type Cluster = RecordOf<"cluster">;
type Host = RecordOf<"host">;
type Vm = RecordOf<"vm">;

export interface BalanceSite extends Pick<ControllerContext, "cache" | "clock" | "agents"> {
  readonly snapshot: SnapshotIndex;
  readonly book: UseBook;
}

/** Clusters written before balancing was known have none. */
export const balancingOf = (cluster: Cluster): ClusterBalancing => ClusterBalancing.parse(cluster.spec.balancing ?? {});

/** How its hosts sleep; clusters written before that was known say nothing of it. */
export const powerOf = (cluster: Cluster): ClusterPower => ClusterPower.parse(cluster.spec.power ?? {});

/** Migrations over a network whose speed is not known: a gigabit. */
const assumedBytesPerSecond = 117e6;

export interface ClusterProblem {
  readonly problem: BalanceProblem;
  /** By index of the problem. */
  readonly hosts: readonly Host[];
  readonly vms: readonly Vm[];
  readonly unknown: readonly string[];
  /** One of them runs and will tell: this server has just begun to listen. */
  readonly awaited: boolean;
  /** When the hours to come begin that the problem looks at, ms since the epoch; none: habits are not known, or not asked for. */
  readonly ahead: readonly number[];
}

export function problemOf(cluster: Cluster, site: BalanceSite): ClusterProblem {
  const { cache, clock, snapshot, book } = site;
  const now = clock.monotonic();
  const hosts: Host[] = [];
  const unknown: string[] = [];
  let awaited = false;
  const own: Use[] = [];
  const isMember = ({ spec, deletedAt, status }: Host): boolean =>
    spec.cluster === cluster.id && deletedAt === undefined && status.power === undefined;
  const members = [...cache.all("host")].filter(isMember);
  for (const host of members.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const use = book.host(host.id, now);
    if (use === undefined || !host.status.agent || !snapshot.usage(host.id)) {
      unknown.push(host.name);
      awaited ||= host.status.liveness?.state === "ready";
    } else {
      hosts.push(host);
      own.push(use);
    }
  }
  const indexOf = new Map(hosts.map(({ id }, index) => [id, index]));
  const here = [...cache.all("vm")].filter((vm) => indexOf.has(vm.placement?.host ?? "") && book.settledMachine(vm.id, now) !== undefined);
  const vms = here.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const stays = stayers(cluster, site);
  const { bandwidthBytesPerSecond } = cluster.spec.migration;
  const machines = vms.map((vm): BalanceMachine => {
    const use = book.settledMachine(vm.id, now) ?? { cpus: 0, memoryBytes: 0 };
    const { cpu, memory, placement } = vm.spec;
    return {
      id: vm.id,
      host: indexOf.get(vm.placement?.host ?? "") ?? 0,
      usedCpus: use.cpus,
      usedMemoryBytes: use.memoryBytes,
      promisedCpus: cpu.count,
      promisedMemoryBytes: memory.hugepages ? 0 : memory.bytes,
      moveSeconds: use.memoryBytes / (bandwidthBytesPerSecond || assumedBytesPerSecond),
      movable: !stays(vm) && mayLeave(vm, site),
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
  const { forecastHours } = balancingOf(cluster);
  const { at, ...ahead } = lookAhead({ hosts: known, machines }, book, clock.now(), forecastHours);
  return { problem: { ...ahead, mayRun }, hosts, vms, unknown, awaited, ahead: at };
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

/** Who is not to be moved, whatever it would help. */
function stayers(cluster: Cluster, { cache, clock }: BalanceSite): (vm: Vm) => boolean {
  const { pauseMinutes, machineCooldownMinutes, settledLabels } = balancingOf(cluster);
  const now = clock.now();
  const dismissed = new Set(standingDismissals(cluster.status.dismissals, now, (id) => cache.get("vm", id)?.placement?.host).map(({ vm }) => vm));
  const carriesAll = (vm: Vm, labels: Readonly<Record<string, string>>): boolean =>
    Object.entries(labels).every(([key, value]) => vm.labels[key] === value);
  return (vm) =>
    vm.spec.placement.settled === true ||
    dismissed.has(vm.id) ||
    movedLately(vm, machineCooldownMinutes ?? pauseMinutes, now) ||
    settledLabels.some((labels) => carriesAll(vm, labels));
}

function mayLeave(vm: Vm, { cache, agents }: BalanceSite): boolean {
  const host = vm.placement?.host ?? "";
  if (vm.status.agent?.state !== "running" || vm.status.migration !== undefined) return false;
  return moveRefusal(vm, agents.connected(host), volumesOf(vm, cache), (id) => cache.get("pool", id)) === null;
}

/** Wherever it moved from, and by whomever. */
function movedLately({ placement }: Vm, minutes: number, now: number): boolean {
  return placement !== undefined && placement.epoch > 1 && now - placement.at < minutes * 60_000;
}
