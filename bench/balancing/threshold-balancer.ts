/**
 * The balancer that peers have: while a host is further above the cluster's level than a threshold, one of its machines goes to the coldest host
 * that stays below. Which one: the `quickest` to migrate (minimum migration time, Beloglazov and Buyya 2012; small guests first as ProxLB does by
 * default), or the one whose use is `nearest` to what is too much (OpenStack Watcher's workload balance). Shares no code with the planner.
 */
import type { BalanceProblem } from "@sheaf/planning";

export interface Balanced {
  readonly moves: number;
  /** As the planner counts it: root mean square distance from the level, in percent points. */
  readonly spreadPoints: number;
}

/** @param threshold share of a host above the level that is left alone */
export function thresholdBalance({ hosts, machines, mayRun }: BalanceProblem, threshold: number, choice: "quickest" | "nearest"): Balanced {
  const on = hosts.map(() => new Set<number>());
  machines.forEach(({ host }, index) => on[host]?.add(index));
  const sums = hosts.map((host, index) => {
    const sum = { cpus: host.usedCpus, bytes: host.usedMemoryBytes, promisedCpus: 0, promisedBytes: 0 };
    for (const at of on[index] ?? []) add(sum, at, 1);
    return sum;
  });
  type Sum = (typeof sums)[number];
  function add(sum: Sum, at: number, sign: number): void {
    const machine = machines[at];
    if (machine === undefined) return;
    sum.cpus += sign * machine.usedCpus;
    sum.bytes += sign * machine.usedMemoryBytes;
    sum.promisedCpus += sign * machine.promisedCpus;
    sum.promisedBytes += sign * machine.promisedMemoryBytes;
  }
  const use = (index: number): number => {
    const [host, sum] = [hosts[index], sums[index]];
    return host === undefined || sum === undefined ? 0 : Math.max(sum.cpus / host.cpus, sum.bytes / host.memoryBytes);
  };
  const total = (figure: (index: number) => number): number => hosts.reduce((sum, _, index) => sum + figure(index), 0);
  const level = Math.max(
    total((index) => sums[index]?.cpus ?? 0) / total((index) => hosts[index]?.cpus ?? 0),
    total((index) => sums[index]?.bytes ?? 0) / total((index) => hosts[index]?.memoryBytes ?? 0),
  );
  const mayCome = (at: number, to: number): boolean => {
    const [host, sum, machine] = [hosts[to], sums[to], machines[at]];
    if (!host?.open || sum === undefined || machine === undefined) return false;
    if (sum.promisedCpus + machine.promisedCpus > host.promisableCpus) return false;
    if (sum.promisedBytes + machine.promisedMemoryBytes > host.promisableMemoryBytes) return false;
    if (machine.apart !== undefined && [...(on[to] ?? [])].some((other) => machines[other]?.apart === machine.apart)) return false;
    const after = Math.max((sum.cpus + machine.usedCpus) / host.cpus, (sum.bytes + machine.usedMemoryBytes) / host.memoryBytes);
    return after <= level + threshold && mayRun(at, to);
  };
  const stuck = new Set<number>();
  let moves = 0;
  for (;;) {
    const byUse = hosts.map((_, index) => index).toSorted((a, b) => use(b) - use(a));
    const from = byUse.find((index) => !stuck.has(index) && use(index) > level + threshold);
    if (from === undefined) break;
    const offered = hosts[from];
    const excess = use(from) - level;
    const share = (at: number): number =>
      Math.max((machines[at]?.usedCpus ?? 0) / (offered?.cpus ?? 1), (machines[at]?.usedMemoryBytes ?? 0) / (offered?.memoryBytes ?? 1));
    const cost = (at: number): number => (choice === "quickest" ? (machines[at]?.moveSeconds ?? 0) : Math.abs(share(at) - excess));
    const inOrder = [...(on[from] ?? [])].filter((at) => machines[at]?.movable).toSorted((a, b) => cost(a) - cost(b));
    const step = byUse
      .toReversed()
      .slice(0, 10)
      .flatMap((to) => inOrder.filter((at) => mayCome(at, to)).map((at) => ({ at, to })))[0];
    if (step === undefined) {
      stuck.add(from);
      continue;
    }
    const [source, target] = [sums[from], sums[step.to]];
    if (source !== undefined && target !== undefined) {
      add(source, step.at, -1);
      add(target, step.at, 1);
    }
    on[from]?.delete(step.at);
    on[step.to]?.add(step.at);
    moves += 1;
  }
  return { moves, spreadPoints: 100 * Math.sqrt(total((index) => (use(index) - level) ** 2) / hosts.length) };
}
