/**
 * How far clusters that do little are consolidated, and by how many moves: the plan is carried out move by move, and every state on the way is
 * checked against what hosts offer.
 */
import { planFreeing, type BalanceProblem, type FreeingPlan } from "@sheaf/planning";
import { asItIs, type Bound, idleCluster, meanUse, sizesOf } from "./idle-cluster.ts";

export interface Freed {
  readonly bound: Bound;
  readonly seed: number;
  readonly hosts: number;
  readonly machines: number;
  readonly usePercentBefore: number;
  /** Of the hosts that stay on. */
  readonly usePercentAfter: number;
  readonly freed: number;
  readonly moves: number;
  readonly leastMoves: number;
  readonly planMs: number;
  /** States on the way in which a host has promised more than it may, is above the target, or holds two machines that stay apart. */
  readonly infeasible: number;
}

export function freeing(hosts: number, bound: Bound, level: number, targetUse: number, seed: number): Freed {
  const cluster = idleCluster(hosts, bound, level, seed);
  const { problem } = cluster;
  const hostOf = asItIs(cluster);
  const before = meanUse(cluster, hostOf, () => true);
  const from = performance.now();
  const plan = planFreeing(problem, { targetUse });
  const planMs = performance.now() - from;
  const infeasible = carryOut(problem, plan, hostOf, targetUse);
  const freed = new Set(plan.freed);
  return {
    bound,
    seed,
    hosts,
    machines: problem.machines.length,
    usePercentBefore: 100 * before,
    usePercentAfter: 100 * meanUse(cluster, hostOf, (host) => !freed.has(host)),
    freed: freed.size,
    moves: plan.moves.length,
    leastMoves: leastMoves(problem, plan.freed),
    planMs,
    infeasible,
  };
}

/**
 * Whatever plan frees hosts that offer as much as these must move all that stands on the hosts that it frees: no fewer machines than stand on the
 * hosts with the fewest for what they offer, the last one of them counted in part (the linear relaxation of the knapsack, so a true bound).
 */
function leastMoves(problem: BalanceProblem, freed: readonly number[]): number {
  const sizes = sizesOf(problem);
  const machines = problem.hosts.map(() => 0);
  for (const { host } of problem.machines) machines[host] = (machines[host] ?? 0) + 1;
  let wanted = freed.reduce((sum, host) => sum + (sizes[host] ?? 0), 0);
  let least = 0;
  const price = (host: number): number => (machines[host] ?? 0) / (sizes[host] ?? 1);
  for (const host of problem.hosts
    .keys()
    .toArray()
    .toSorted((a, b) => price(a) - price(b))) {
    const part = Math.min(1, wanted / (sizes[host] ?? 1));
    if (part <= 0) break;
    least += part * (machines[host] ?? 0);
    wanted -= part * (sizes[host] ?? 0);
  }
  return Math.ceil(least - 1e-6);
}

function carryOut({ hosts, machines }: BalanceProblem, { moves }: FreeingPlan, hostOf: number[], targetUse: number): number {
  const on = hosts.map(() => new Set<number>());
  hostOf.forEach((host, machine) => on[host]?.add(machine));
  const broken = (at: number): boolean => {
    const host = hosts[at];
    const its = [...(on[at] ?? [])].flatMap((machine) => machines[machine] ?? []);
    const sum = (figure: (machine: (typeof its)[number]) => number): number => its.reduce((all, machine) => all + figure(machine), 0);
    const groups = its.flatMap(({ apart }) => apart ?? []);
    return (
      host === undefined ||
      new Set(groups).size < groups.length ||
      sum(({ promisedCpus }) => promisedCpus) > host.promisableCpus + 1e-6 ||
      sum(({ promisedMemoryBytes }) => promisedMemoryBytes) > host.promisableMemoryBytes + 1 ||
      host.usedCpus + sum(({ usedCpus }) => usedCpus) > host.cpus * targetUse + 1e-6 ||
      host.usedMemoryBytes + sum(({ usedMemoryBytes }) => usedMemoryBytes) > host.memoryBytes * targetUse + 1
    );
  };
  return moves.filter(({ machine, from, to }) => {
    // While it moves it is promised its room on both.
    on[to]?.add(machine);
    const wrong = hostOf[machine] !== from || broken(to);
    on[from]?.delete(machine);
    hostOf[machine] = to;
    return wrong;
  }).length;
}
