/**
 * Clusters that do little, drawn from a seed: mixed hosts, machines of usual sizes, some groups that stay apart, a few machines that may not move.
 * Bound by the `memory` that is used (CPU overcommitted fourfold, memory half as much again), by CPU and memory alike (`both`), or by what
 * is `promised` (memory once).
 */
import type { BalanceHost, BalanceMachine, BalanceProblem } from "@sheaf/planning";
import { seededRandom } from "../random.ts";
import { mixedHosts, picker } from "./instances.ts";

const gib = 2 ** 30;

export const bounds = ["memory", "both", "promised"] as const;
export type Bound = (typeof bounds)[number];

export interface IdleCluster {
  readonly problem: BalanceProblem;
  /** Share of a host that is taken, as the cluster is bound; of CPU and memory the larger. @param its machines on it */
  readonly use: (host: number, its: readonly number[]) => number;
}

/** @param level mean of the hosts' use, each as large as it is. Drawn twice: what comes out first says what to aim at. */
export function idleCluster(hostCount: number, bound: Bound, level: number, seed: number): IdleCluster {
  const first = drawn(hostCount, bound, level, seed);
  return drawn(hostCount, bound, (level * level) / meanUse(first, asItIs(first), () => true), seed);
}

/** Share of all that hosts offer: half of it CPUs, half memory. */
export function sizesOf({ hosts }: BalanceProblem): number[] {
  const total = (figure: (host: BalanceHost) => number): number => hosts.reduce((sum, host) => sum + figure(host), 0);
  const [cpus, bytes] = [total((host) => host.cpus), total((host) => host.memoryBytes)];
  return hosts.map((host) => (host.cpus / cpus + host.memoryBytes / bytes) / 2);
}

/** Mean use of these hosts, each weighed by its size. */
export function meanUse({ problem, use }: IdleCluster, hostOf: readonly number[], counts: (host: number) => boolean): number {
  const on = problem.hosts.map((): number[] => []);
  hostOf.forEach((host, machine) => on[host]?.push(machine));
  let [sum, sizes] = [0, 0];
  for (const [host, size] of sizesOf(problem).entries()) {
    if (!counts(host)) continue;
    sum += size * use(host, on[host] ?? []);
    sizes += size;
  }
  return sum / sizes;
}

export const asItIs = ({ problem }: IdleCluster): number[] => problem.machines.map(({ host }) => host);

function drawn(hostCount: number, bound: Bound, level: number, seed: number): IdleCluster {
  const random = seededRandom(seed);
  const pick = picker(random);
  const hosts = mixedHosts(hostCount, pick, bound === "promised" ? 1 : 1.5);
  const machines: BalanceMachine[] = [];
  for (const [index, host] of hosts.entries()) {
    const groups = new Set<string>();
    // Around the level: some hosts nearly idle, some at twice as much.
    const fill = level * (0.3 + 1.4 * random());
    const promised = { cpus: 0, bytes: 0 };
    const used = { cpus: host.usedCpus, bytes: host.usedMemoryBytes };
    const taken = (): number =>
      bound === "promised" ? promised.bytes / host.promisableMemoryBytes : Math.max(used.cpus / host.cpus, used.bytes / host.memoryBytes);
    while (taken() < fill) {
      const cpus = pick(1, 2, 2, 4, 4, 4, 8, 8, 16);
      const bytes = cpus * pick(2, 4, 4, 8) * gib;
      if (promised.cpus + cpus > host.promisableCpus || promised.bytes + bytes > host.promisableMemoryBytes) break;
      const busiest = bound === "both" ? 1 : 0.6;
      const [usedCpus, usedMemoryBytes] = [cpus * busiest * random() ** 1.5, bytes * (0.4 + 0.5 * random())];
      promised.cpus += cpus;
      promised.bytes += bytes;
      used.cpus += usedCpus;
      used.bytes += usedMemoryBytes;
      const drawn = random() < 0.1 ? `group-${Math.floor(random() * hostCount)}` : undefined;
      const group = drawn === undefined || groups.has(drawn) ? undefined : drawn;
      if (group !== undefined) groups.add(group);
      machines.push({
        id: `machine-${machines.length}`,
        host: index,
        usedCpus,
        usedMemoryBytes,
        promisedCpus: cpus,
        promisedMemoryBytes: bytes,
        moveSeconds: usedMemoryBytes / 1.25e9,
        movable: random() < 0.998,
        ...(group === undefined ? {} : { apart: group }),
      });
    }
  }
  const use = (host: number, its: readonly number[]): number => {
    const of = hosts[host];
    if (of === undefined) return 0;
    const { cpus, memoryBytes, usedCpus, usedMemoryBytes, promisableMemoryBytes } = of;
    const sum = (figure: (machine: BalanceMachine) => number): number =>
      its.reduce((all, at) => {
        const machine = machines[at];
        return machine === undefined ? all : all + figure(machine);
      }, 0);
    if (bound === "promised") return sum(({ promisedMemoryBytes }) => promisedMemoryBytes) / promisableMemoryBytes;
    return Math.max(
      (usedCpus + sum((machine) => machine.usedCpus)) / cpus,
      (usedMemoryBytes + sum((machine) => machine.usedMemoryBytes)) / memoryBytes,
    );
  };
  return { problem: { hosts, machines, mayRun: () => true }, use };
}
