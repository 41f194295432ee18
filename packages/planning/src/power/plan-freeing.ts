/**
 * Which hosts of a cluster to empty so that its machines stand on as few hosts as they fit on, by few live migrations: (what is expected) →
 * hosts that come free and the moves that empty them, in an order in which each is possible. Hosts whose machines are few for what they offer
 * are emptied first: as many of them as there is room for what they carry on the others, packed all together. Hosts that are kept only gain
 * machines, so that what is possible at the end is possible on the way. Pure; same input, same plan.
 */
import type { BalanceProblem } from "../balancing/balance-problem.ts";
import { BalanceState } from "../balancing/balance-state.ts";
import { type OrderedMove, sequenceMoves } from "../balancing/sequence-moves.ts";

export interface FreeingOptions {
  /** Binding use, 0 … 1, that no host is filled above. */
  readonly targetUse: number;
  /** Hosts without machines that are wanted awake all the same: where no more than so many would be empty, nothing moves. */
  readonly spareHosts: number;
  /** A plan empties whole hosts within this; one that has more machines alone gives up so many of them, and the rest in the next plan. */
  readonly maximumMoves: number;
  readonly maximumHosts: number;
  /** Whether the host may be without machines at all: asked for open hosts whose machines may all move. */
  readonly mayEmpty: (host: number) => boolean;
}

export const freeingDefaults: FreeingOptions = {
  targetUse: 0.85,
  spareHosts: 1,
  maximumMoves: 10_000,
  maximumHosts: Number.POSITIVE_INFINITY,
  mayEmpty: () => true,
};

export interface FreeingMove extends OrderedMove {
  /** Binding use of the target in percent, before and after this move. */
  readonly toPercent: readonly [before: number, after: number];
}

export interface FreeingPlan {
  readonly moves: readonly FreeingMove[];
  /** Hosts without machines once all have moved, in the order in which they come free. */
  readonly freed: readonly number[];
  /** The larger of the shares of CPU and memory that are used, of all hosts that have machines: before and after. */
  readonly levelPercent: readonly [before: number, after: number];
}

/** 500 hosts with 10,000 machines: some seconds at most. O(log hosts × machines × hosts). */
export function planFreeing(problem: BalanceProblem, options: Partial<FreeingOptions> = {}): FreeingPlan {
  const chosen = { ...freeingDefaults, ...options };
  const freeing = new Freeing(problem, chosen);
  const emptied = freeing.find();
  const empty = emptyHosts(problem);
  if (emptied === undefined || empty.length + emptied.hosts.length <= chosen.spareHosts) return nothing(problem);
  const on = machinesByHost(problem);
  const wanted = emptied.hosts.flatMap((host) =>
    byId(on[host] ?? [], problem.machines).map((machine) => ({ machine, to: emptied.state.hostOf(machine) })),
  );
  const { moves } = sequenceMoves(problem, wanted.slice(0, chosen.maximumMoves), chosen.targetUse);
  return explained(problem, moves);
}

/** Whether one host less could be enough, as far as sums tell: cheap enough to be asked every half minute. */
export function mayFreeHost(problem: BalanceProblem, targetUse: number, spareHosts: number): boolean {
  const packing = new Packing(problem, targetUse);
  const on = machinesByHost(problem);
  const carrying = problem.hosts.flatMap(({ open }, host) => (open && (on[host]?.length ?? 0) > 0 ? [host] : []));
  const empty = emptyHosts(problem).length;
  return carrying.length > 1 && empty + 1 > spareHosts && packing.sufficesWithoutOneOf(carrying);
}

interface Emptied {
  readonly hosts: readonly number[];
  /** All their machines are elsewhere in it. */
  readonly state: BalanceState;
}

class Freeing {
  readonly #problem: BalanceProblem;
  readonly #options: FreeingOptions;
  /** Those that may be emptied, cheapest first. */
  readonly #candidates: readonly number[];
  readonly #machines: readonly (readonly number[])[];
  readonly #packing: Packing;

  constructor(problem: BalanceProblem, options: FreeingOptions) {
    this.#problem = problem;
    this.#options = options;
    this.#packing = new Packing(problem, options.targetUse);
    this.#machines = machinesByHost(problem);
    const price = Float64Array.from(problem.hosts, (_, host) => (this.#machines[host]?.length ?? 0) / Math.max(this.#packing.offer(host), 1e-9));
    this.#candidates = byId([...problem.hosts.keys()], problem.hosts)
      .filter((host) => this.#mayBeEmptied(host))
      .toSorted((a, b) => (price[a] ?? 0) - (price[b] ?? 0));
  }

  find(): Emptied | undefined {
    const most = this.#withinBudget();
    // As many of the cheapest as find room together; more machines never find room more easily.
    let [fits, fails, tried] = [0, most + 1, most];
    let found: Emptied | undefined;
    for (; fits + 1 < fails; tried = Math.floor((fits + fails) / 2)) {
      const hosts = this.#candidates.slice(0, tried);
      const state = this.#emptied(hosts);
      if (state === undefined) fails = tried;
      else [fits, found] = [tried, { hosts, state }];
    }
    const state = found?.state ?? new BalanceState(this.#problem);
    const hosts = [...(found?.hosts ?? [])];
    this.#emptyOthers(hosts, state);
    return hosts.length === 0 ? undefined : { hosts, state };
  }

  /** Hosts beyond the cheapest whose machines still find room, one after the other. */
  #emptyOthers(hosts: number[], state: BalanceState): void {
    let moves = hosts.reduce((sum, host) => sum + (this.#machines[host]?.length ?? 0), 0);
    const taken = new Set(hosts);
    for (const host of this.#candidates) {
      if (hosts.length >= this.#options.maximumHosts) return;
      const own = this.#machines[host]?.length ?? 0;
      if (taken.has(host) || (moves + own > this.#options.maximumMoves && hosts.length > 0)) continue;
      taken.add(host);
      if (!this.#packing.empty(state, [host], taken)) {
        taken.delete(host);
        continue;
      }
      hosts.push(host);
      moves += own;
    }
  }

  #emptied(hosts: readonly number[]): BalanceState | undefined {
    const state = new BalanceState(this.#problem);
    return this.#packing.empty(state, hosts, new Set(hosts)) ? state : undefined;
  }

  #mayBeEmptied(host: number): boolean {
    const its = this.#machines[host] ?? [];
    if (its.length === 0 || this.#problem.hosts[host]?.open !== true) return false;
    return its.every((machine) => this.#problem.machines[machine]?.movable === true) && this.#options.mayEmpty(host);
  }

  /** How many of the cheapest the budget lets be emptied; one at least. */
  #withinBudget(): number {
    const { maximumMoves, maximumHosts } = this.#options;
    const most = Math.min(this.#candidates.length, maximumHosts);
    let [hosts, moves] = [0, 0];
    while (hosts < most) {
      moves += this.#machines[this.#candidates[hosts] ?? -1]?.length ?? 0;
      if (hosts > 0 && moves > maximumMoves) break;
      hosts += 1;
    }
    return hosts;
  }
}

/** What takes room, as shares of what all hosts offer: a machine or a host is as large as the scarcer of it makes it. */
class Packing {
  readonly #problem: BalanceProblem;
  readonly #targetUse: number;
  /** How scarce each is: by its share that is taken. */
  readonly #weights: Dimensions;
  readonly #total: Dimensions;
  readonly #taken: Dimensions;
  /** Of the machines. */
  readonly #sizes: Float64Array;
  readonly #hosts: readonly number[];

  constructor(problem: BalanceProblem, targetUse: number) {
    this.#problem = problem;
    this.#hosts = byId([...problem.hosts.keys()], problem.hosts);
    this.#targetUse = targetUse;
    const { hosts, machines } = problem;
    this.#total = sumOf(hosts.map((_, host) => this.#room(host)));
    this.#taken = sumOf(machines.map((machine) => needs(machine)));
    this.#weights = dimensions.map((at) => ((this.#taken[at] ?? 0) / Math.max(this.#total[at] ?? 0, Number.MIN_VALUE)) ** scarcity);
    this.#sizes = Float64Array.from(machines, (machine) => this.#weighed(needs(machine)));
  }

  offer(host: number): number {
    return this.#weighed(this.#room(host));
  }

  /**
   * Moves all machines of these hosts to others that have machines, the largest first, each to the host that has least left then.
   * @returns whether all found room; where not, the state is as before
   */
  empty(state: BalanceState, hosts: readonly number[], emptied: ReadonlySet<number>): boolean {
    const isTarget = (host: number): boolean => this.#problem.hosts[host]?.open === true && !emptied.has(host) && state.machinesOn(host).length > 0;
    const targets = this.#hosts.filter(isTarget);
    const left = new Map(targets.map((host) => [host, this.#left(state, host)]));
    const machines = hosts
      .flatMap((host) => [...state.machinesOn(host)])
      .toSorted((a, b) => (this.#sizes[b] ?? 0) - (this.#sizes[a] ?? 0) || this.#order(a, b));
    const before = machines.map((machine) => state.hostOf(machine));
    for (const [index, machine] of machines.entries()) {
      const target = this.#tightest(state, machine, targets, left);
      if (target === -1) {
        for (let undone = index - 1; undone >= 0; undone -= 1) state.move(machines[undone] ?? -1, before[undone] ?? -1);
        return false;
      }
      state.move(machine, target);
      left.set(target, this.#left(state, target));
    }
    return true;
  }

  #tightest(state: BalanceState, machine: number, targets: readonly number[], left: ReadonlyMap<number, number>): number {
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (const host of targets) {
      const rest = left.get(host) ?? 0;
      // Rules are asked last: they are dear.
      if (rest >= least || state.useWith(host, machine) > this.#targetUse || !state.mayCome(machine, host)) continue;
      [best, least] = [host, rest];
    }
    return best;
  }

  /** Of machines that are alike. */
  #order(a: number, b: number): number {
    const { machines } = this.#problem;
    return (machines[a]?.id ?? "") < (machines[b]?.id ?? "") ? -1 : 1;
  }

  /** How much room the host has left, as `offer` counts it. */
  #left(state: BalanceState, host: number): number {
    const left = [...this.#room(host)];
    for (const machine of state.machinesOn(host)) {
      const of = this.#problem.machines[machine];
      if (of !== undefined) needs(of).forEach((need, at) => (left[at] = (left[at] ?? 0) - need));
    }
    return this.#weighed(left);
  }

  /** Whether these hosts together, less one of them, offer what all machines need. */
  sufficesWithoutOneOf(hosts: readonly number[]): boolean {
    const rooms = hosts.map((host) => this.#room(host));
    const all = sumOf(rooms);
    return rooms.some((room) => dimensions.every((at) => (this.#taken[at] ?? 0) <= (all[at] ?? 0) - (room[at] ?? 0)));
  }

  #room(host: number): Dimensions {
    const of = this.#problem.hosts[host];
    if (of === undefined) return dimensions.map(() => 0);
    const { cpus, memoryBytes, usedCpus, usedMemoryBytes, promisableCpus, promisableMemoryBytes } = of;
    const target = this.#targetUse;
    return [cpus * target - usedCpus, memoryBytes * target - usedMemoryBytes, promisableCpus, promisableMemoryBytes].map((room) => Math.max(0, room));
  }

  #weighed(figures: Dimensions): number {
    return dimensions.reduce((sum, at) => sum + ((this.#weights[at] ?? 0) * (figures[at] ?? 0)) / Math.max(this.#total[at] ?? 0, 1e-9), 0);
  }
}

/** How much more the scarcest counts than the others. */
const scarcity = 2;

/** CPUs used, memory used, CPUs promised, memory promised. */
type Dimensions = readonly number[];
const dimensions: readonly number[] = [0, 1, 2, 3];
const needs = ({ usedCpus, usedMemoryBytes, promisedCpus, promisedMemoryBytes }: BalanceProblem["machines"][number]): Dimensions => [
  usedCpus,
  usedMemoryBytes,
  promisedCpus,
  promisedMemoryBytes,
];
const sumOf = (all: readonly Dimensions[]): Dimensions => dimensions.map((at) => all.reduce((sum, figures) => sum + (figures[at] ?? 0), 0));

/** In the order of the ids: that in which they are given plays no part. */
const byId = (indexes: readonly number[], all: readonly { readonly id: string }[]): number[] =>
  indexes.toSorted((a, b) => ((all[a]?.id ?? "") < (all[b]?.id ?? "") ? -1 : 1));

function machinesByHost({ hosts, machines }: BalanceProblem): number[][] {
  const on = hosts.map((): number[] => []);
  machines.forEach(({ host }, machine) => on[host]?.push(machine));
  return on;
}

/** Open hosts without machines. */
function emptyHosts(problem: BalanceProblem): number[] {
  const on = machinesByHost(problem);
  return problem.hosts.flatMap(({ open }, host) => (open && on[host]?.length === 0 ? [host] : []));
}

const nothing = (problem: BalanceProblem): FreeingPlan => explained(problem, []);

function explained(problem: BalanceProblem, moves: readonly OrderedMove[]): FreeingPlan {
  const state = new BalanceState(problem);
  const before = levelPercent(problem, state);
  const freed: number[] = [];
  const told = moves.map((move): FreeingMove => {
    const from = state.hostOf(move.machine);
    const was = state.bindingUse(move.to);
    state.move(move.machine, move.to);
    if (state.machinesOn(from).length === 0) freed.push(from);
    return { ...move, toPercent: [100 * was, 100 * state.bindingUse(move.to)] };
  });
  return { moves: told, freed: freed.filter((host) => state.machinesOn(host).length === 0), levelPercent: [before, levelPercent(problem, state)] };
}

/** Of the hosts that have machines. */
function levelPercent({ hosts, machines }: BalanceProblem, state: BalanceState): number {
  const sums = { cpus: 0, bytes: 0, usedCpus: 0, usedBytes: 0 };
  for (const [index, host] of hosts.entries()) {
    const on = state.machinesOn(index);
    if (on.length === 0) continue;
    sums.cpus += host.cpus;
    sums.bytes += host.memoryBytes;
    sums.usedCpus += host.usedCpus;
    sums.usedBytes += host.usedMemoryBytes;
    for (const machine of on) {
      sums.usedCpus += machines[machine]?.usedCpus ?? 0;
      sums.usedBytes += machines[machine]?.usedMemoryBytes ?? 0;
    }
  }
  return 100 * Math.max(sums.usedCpus / Math.max(sums.cpus, Number.MIN_VALUE), sums.usedBytes / Math.max(sums.bytes, Number.MIN_VALUE));
}
