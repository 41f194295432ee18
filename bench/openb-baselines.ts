/** What GPU placement is measured against: random, best fit, and FGD as published (Weng et al., Beware of Fragmentation, USENIX ATC 2023). */
import { CostColumns, type GpuDemand, type GpuHosts, type GpuPolicy, type GpuRequest, type RequestMix } from "@sheaf/scheduling";

/** Any host, any GPU that suffices. */
export function randomFit(hosts: GpuHosts, random: () => number): GpuPolicy {
  return {
    name: "random",
    choice: (request) => {
      const demand = hosts.demand(request);
      return {
        demand,
        cost: random,
        gpus: (slot) => drawn(sufficing(hosts, demand, slot), demand.gpus, random),
      };
    },
  };
}

function drawn(from: readonly number[], count: number, random: () => number): number[] {
  const rest = [...from];
  return Array.from({ length: count }, () => rest.splice(Math.floor(random() * rest.length), 1)[0] ?? 0);
}

/** Least of CPU and GPUs left, each against the largest host's; the tightest GPU. */
export function bestFit(hosts: GpuHosts): GpuPolicy {
  const columns = new CostColumns(hosts, (demand, slot) => {
    const cpuLeft = (hosts.cpuIdleMilli[slot] ?? 0) - demand.cpuMilli;
    const gpuLeft = idleOf(hosts, slot) - demand.gpus * demand.gpuMilli;
    return (0.5 * cpuLeft) / 128_000 + (0.5 * gpuLeft) / 8000;
  });
  return {
    name: "best fit",
    choice: (request) => ({ ...columns.of(request), gpus: (slot) => hosts.tightest(hosts.demand(request), slot) }),
  };
}

const sufficing = (hosts: GpuHosts, demand: GpuDemand, slot: number): number[] => hosts.tightest({ ...demand, gpus: hosts.stride }, slot);

interface WeighedDemand extends GpuDemand {
  readonly weight: number;
}

/**
 * A host's fragmentation: for each class of the mix, by weight, the idle GPU milli that it could not use there as the host stands.
 * The score of a placement is floor(100 · sigmoid(decrease / 1000)); the highest wins, equal ones go to the first host and the first GPU.
 * Classes: those that cover the most frequent 95 % of requests; memory does not tell classes apart.
 */
export function fragmentationGradientDescent(hosts: GpuHosts, mix: RequestMix): GpuPolicy {
  const classes: WeighedDemand[] = [];
  let covered = 0;
  for (const { request, weight } of mix.classes()) {
    if (covered >= 0.95 * mix.total) break;
    covered += weight;
    classes.push({ ...hosts.demand(request), weight });
  }
  for (const [at, each] of classes.entries()) classes[at] = { ...each, weight: each.weight / covered };

  const idle = new Int32Array(hosts.stride);
  const fragments = (slot: number, cpuMilli: number): number => {
    const count = hosts.gpuCount[slot] ?? 0;
    let total = 0;
    for (let gpu = 0; gpu < count; gpu += 1) total += idle[gpu] ?? 0;
    const model = hosts.gpuModel[slot * hosts.stride] ?? 0;
    let sum = 0;
    for (const { weight, gpus, gpuMilli, cpuMilli: cpu, accepts } of classes) {
      let useless = total;
      if (gpus > 0 && cpu <= cpuMilli && (accepts === undefined || accepts[model] === 1)) {
        let enough = 0;
        let tooSmall = 0;
        for (let gpu = 0; gpu < count; gpu += 1) {
          if ((idle[gpu] ?? 0) >= gpuMilli) enough += 1;
          else tooSmall += idle[gpu] ?? 0;
        }
        if (enough >= gpus) useless = tooSmall;
      }
      sum += weight * useless;
    }
    return sum;
  };

  const best = (demand: GpuDemand, slot: number): { score: number; gpus: number[] } => {
    const cpuMilli = hosts.cpuIdleMilli[slot] ?? 0;
    const from = slot * hosts.stride;
    for (let gpu = 0; gpu < idle.length; gpu += 1) idle[gpu] = hosts.gpuIdleMilli[from + gpu] ?? 0;
    const before = fragments(slot, cpuMilli);
    const suffice = sufficing(hosts, demand, slot).toSorted((a, b) => a - b);
    const choices = demand.gpus === 1 ? suffice.map((gpu) => [gpu]) : [suffice.slice(0, demand.gpus)];
    let chosen = { score: Number.NEGATIVE_INFINITY, gpus: [] as number[] };
    for (const gpus of choices) {
      for (const gpu of gpus) idle[gpu] = (idle[gpu] ?? 0) - demand.gpuMilli;
      const decrease = before - fragments(slot, cpuMilli - demand.cpuMilli);
      for (const gpu of gpus) idle[gpu] = (idle[gpu] ?? 0) + demand.gpuMilli;
      const score = Math.floor(100 / (1 + Math.exp(-decrease / 1000)));
      if (score > chosen.score) chosen = { score, gpus };
    }
    return chosen;
  };

  const columns = new CostColumns(hosts, (demand, slot) => -best(demand, slot).score);
  return {
    name: "FGD",
    choice: (request) => {
      const { demand, cost } = columns.of(request);
      return { demand, cost, gpus: (slot) => best(demand, slot).gpus };
    },
  };
}

/** FGD's classes leave memory out. */
export const withoutMemory = (request: GpuRequest): GpuRequest => ({ ...request, memoryBytes: 0 });

function idleOf(hosts: GpuHosts, slot: number): number {
  let idle = 0;
  for (let gpu = 0; gpu < (hosts.gpuCount[slot] ?? 0); gpu += 1) idle += hosts.gpuIdleMilli[slot * hosts.stride + gpu] ?? 0;
  return idle;
}
