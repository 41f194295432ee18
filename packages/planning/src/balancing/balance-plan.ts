/**
 * Evens out the use of a cluster's hosts, or dissolves its hot spots alone, by few live migrations: (what is expected) → moves in an order in
 * which each of them is possible. Which machines move is found by steepest descent on the sum of squared distances from the level
 * (BalanceState.harm): the move that takes most away comes first. Then the machines that move anyway change their targets with each other until
 * that helps no more, which costs nothing. Pure; same input, same plan.
 */
import type { BalanceProblem } from "./balance-problem.ts";
import { BalanceState } from "./balance-state.ts";
import { type OrderedMove, sequenceMoves } from "./sequence-moves.ts";

export interface BalanceOptions {
  /** `even`: all hosts come near the level · `hot-spots`: only hosts above `hotUse` are relieved. */
  readonly goal: "even" | "hot-spots";
  /** Binding use, 0 … 1, above which a host is a hot spot; no move brings a host above it, where the cluster's level is below. */
  readonly hotUse: number;
  readonly maximumMoves: number;
  /**
   * What a move must take away at least, in squared distance: 2 × 0.004² is two hosts that come from 0.4 percent points off to none. Less is
   * not chased.
   */
  readonly worthwhile: number;
  /** What a second of migrating is worth in the same measure. */
  readonly pricePerSecond: number;
}

export const balanceDefaults: BalanceOptions = { goal: "even", hotUse: 0.85, maximumMoves: 10_000, worthwhile: 2 * 0.004 ** 2, pricePerSecond: 1e-6 };

export interface BalanceMove extends OrderedMove {
  /** Binding use in percent of either host, before and after this move: why it is there. */
  readonly fromPercent: readonly [before: number, after: number];
  readonly toPercent: readonly [before: number, after: number];
}

export interface BalanceScore {
  /** Root mean square distance of the hosts' binding use from the level, in percent points. 0: even. */
  readonly spreadPoints: number;
  /** Binding use of the hottest host. */
  readonly hottestPercent: number;
  /** Binding use that all hosts would have, were everything divisible. */
  readonly levelPercent: number;
}

export interface BalancePlan {
  readonly moves: readonly BalanceMove[];
  readonly before: BalanceScore;
  readonly after: BalanceScore;
}

/** How even the cluster is as it stands. O(hosts + machines). */
export const balanceScore = (problem: BalanceProblem): BalanceScore => scoreOf(new BalanceState(problem));

/** 1,000 hosts with 20,000 machines: about a second. O(moves × hosts + passes × machines × hosts). */
export function planBalance(problem: BalanceProblem, options: Partial<BalanceOptions> = {}): BalancePlan {
  const chosen = { ...balanceDefaults, ...options };
  const descent = new Descent(problem, chosen);
  const { moves } = sequenceMoves(problem, descent.targets(), descent.ceiling);
  return explained(problem, moves);
}

/** Hosts on either side that are looked at for one step: the hottest and the coldest. The best pair is nearly always among them. */
const sourcesLooked = 12;
const targetsLooked = 24;
/** Passes over all hosts or all moves: each finds less than the one before. */
const mostPasses = 3;

class Descent {
  readonly #problem: BalanceProblem;
  readonly #options: BalanceOptions;
  readonly #state: BalanceState;
  /** Binding use that no move brings a host above. Where the whole cluster is hot, it is evened out all the same. */
  readonly ceiling: number;
  /** Machines that move, in the order in which they were found. */
  readonly #moved = new Set<number>();
  readonly #hosts: readonly number[];
  readonly #open: readonly number[];
  /** Moves and exchanges taken so far; by host, at which of them it changed last; by machine, when its target was looked at. */
  #steps = 0;
  readonly #changedAt: Int32Array;
  readonly #lookedAt: Int32Array;
  /** The best that the present look has found; no object is made for each that is looked at. */
  #machine = -1;
  #to = -1;
  #back = -1;
  #net = 0;

  constructor(problem: BalanceProblem, options: BalanceOptions) {
    this.#problem = problem;
    this.#options = options;
    this.#state = new BalanceState(problem);
    this.#hosts = problem.hosts.map((_, index) => index);
    this.ceiling = Math.max(options.hotUse, this.#state.level);
    this.#changedAt = new Int32Array(problem.hosts.length);
    this.#lookedAt = new Int32Array(problem.machines.length);
    this.#open = this.#hosts.filter((index) => problem.hosts[index]?.open === true);
  }

  targets(): { machine: number; to: number }[] {
    while (this.#more() && this.#bestStep());
    for (let pass = 0; pass < mostPasses && this.#passOverSources(); pass += 1);
    this.#refine();
    if (this.#passOverSources()) this.#refine();
    this.#prune();
    return [...this.#moved].map((machine) => ({ machine, to: this.#state.hostOf(machine) }));
  }

  #more(): boolean {
    return this.#moved.size < this.#options.maximumMoves;
  }

  /** @returns whether a move was found that is worth it */
  #bestStep(): boolean {
    this.#forget();
    const coldest = this.#coldest();
    for (const from of this.#hottest(sourcesLooked)) this.#lookAtMoves(from, coldest);
    return this.#take();
  }

  /** Each hot host once, with all targets; where no single machine helps, two change places. @returns whether anything was found */
  #passOverSources(): boolean {
    let found = false;
    for (const from of this.#hottest(this.#hosts.length)) {
      if (!this.#more()) break;
      this.#forget();
      this.#lookAtMoves(from, this.#open);
      if (this.#machine === -1) for (const to of this.#coldest()) this.#lookAtExchanges(from, to);
      if (this.#take()) found = true;
    }
    return found;
  }

  #hottest(most: number): number[] {
    const above = this.#options.goal === "even" ? this.#state.level : this.#options.hotUse;
    const sources = this.#hosts.filter((host) => this.#state.bindingUse(host) > above);
    return least(sources, most, (host) => -this.#state.bindingUse(host));
  }

  #coldest(): number[] {
    return least(this.#open, targetsLooked, (host) => this.#state.bindingUse(host));
  }

  #lookAtMoves(from: number, targets: readonly number[]): void {
    const state = this.#state;
    const [use, harm] = [state.bindingUse(from), state.harm(from)];
    for (const machine of state.machinesOn(from)) {
      if (!this.#mayMove(machine)) continue;
      const gain = harm - state.harmWith(from, -1, machine) - this.#price(machine);
      for (const to of targets) {
        const most = gain + state.harm(to);
        if (most <= this.#net || most < this.#options.worthwhile || state.bindingUse(to) >= use) continue;
        const net = most - state.harmWith(to, machine, -1);
        if (net > this.#net && net >= this.#options.worthwhile && this.#mayCome(machine, to, -1)) this.#remember(machine, to, -1, net);
      }
    }
  }

  #lookAtExchanges(from: number, to: number): void {
    const state = this.#state;
    if (from === to) return;
    const now = state.harm(from) + state.harm(to);
    if (now <= this.#net || now < 2 * this.#options.worthwhile) return;
    for (const machine of state.machinesOn(from)) {
      if (!this.#mayMove(machine)) continue;
      for (const back of state.machinesOn(to)) {
        if (!this.#mayMove(back)) continue;
        const net = now - state.harmWith(from, back, machine) - state.harmWith(to, machine, back) - this.#price(machine) - this.#price(back);
        if (net <= this.#net || net < 2 * this.#options.worthwhile) continue;
        if (this.#mayCome(machine, to, back) && this.#mayCome(back, from, machine)) this.#remember(machine, to, back, net);
      }
    }
  }

  /** Machines that move anyway find better targets, alone or by exchange, or stay while another of their host goes: as many moves, and more evenly. */
  #refine(): void {
    for (let pass = 0, found = true; found && pass < mostPasses; pass += 1) {
      found = false;
      const moved = [...this.#moved];
      for (const machine of moved) {
        if (!this.#moved.has(machine)) continue;
        const since = this.#lookedAt[machine] ?? 0;
        this.#lookedAt[machine] = this.#steps;
        this.#forget();
        this.#net = this.#options.worthwhile / 1000;
        this.#lookAtTargets(machine, since);
        for (const other of moved) if (this.#moved.has(other)) this.#lookAtExchange(machine, other, since);
        for (const other of this.#state.machinesOn(this.#origin(machine))) if (this.#mayMove(other)) this.#lookAtExchange(machine, other, since);
        if (this.#take()) found = true;
      }
    }
  }

  /** What turned out not to be needed stays where it is. */
  #prune(): void {
    const state = this.#state;
    for (const machine of [...this.#moved].toReversed()) {
      const [at, origin] = [state.hostOf(machine), this.#origin(machine)];
      const harm = state.harmWith(at, -1, machine) + state.harmWith(origin, machine, -1) - state.harm(at) - state.harm(origin);
      if (harm >= this.#options.worthwhile || !this.#mayCome(machine, origin, -1)) continue;
      this.#remember(machine, origin, -1, 0);
      this.#take();
    }
  }

  #lookAtTargets(machine: number, since: number): void {
    const state = this.#state;
    const at = state.hostOf(machine);
    const without = state.harm(at) - state.harmWith(at, -1, machine);
    for (const to of this.#open) {
      if (to === at || !this.#changed(at, to, since) || state.harm(at) + state.harm(to) <= this.#net) continue;
      const net = without + state.harm(to) - state.harmWith(to, machine, -1);
      if (net > this.#net && this.#mayCome(machine, to, -1)) this.#remember(machine, to, -1, net);
    }
  }

  #lookAtExchange(machine: number, other: number, since: number): void {
    const state = this.#state;
    const [at, to] = [state.hostOf(machine), state.hostOf(other)];
    const now = state.harm(at) + state.harm(to);
    if (now <= this.#net || to === at || !this.#changed(at, to, since)) return;
    const net = now - state.harmWith(at, other, machine) - state.harmWith(to, machine, other);
    if (net > this.#net && this.#mayCome(machine, to, other) && this.#mayCome(other, at, machine)) this.#remember(machine, to, other, net);
  }

  /** Nothing new is to be found between hosts that are as they were. */
  #changed(one: number, other: number, since: number): boolean {
    return (this.#changedAt[one] ?? 0) >= since || (this.#changedAt[other] ?? 0) >= since;
  }

  #forget(): void {
    this.#machine = this.#to = this.#back = -1;
    this.#net = 0;
  }

  #remember(machine: number, to: number, back: number, net: number): void {
    this.#machine = machine;
    this.#to = to;
    this.#back = back;
    this.#net = net;
  }

  #take(): boolean {
    if (this.#machine === -1) return false;
    const from = this.#state.hostOf(this.#machine);
    this.#steps += 1;
    this.#changedAt[from] = this.#changedAt[this.#to] = this.#steps;
    this.#move(this.#machine, this.#to);
    if (this.#back !== -1) this.#move(this.#back, from);
    return true;
  }

  #move(machine: number, to: number): void {
    this.#state.move(machine, to);
    if (to === this.#origin(machine)) this.#moved.delete(machine);
    else this.#moved.add(machine);
  }

  #origin(machine: number): number {
    return this.#problem.machines[machine]?.host ?? -1;
  }

  #mayCome(machine: number, to: number, leaving: number): boolean {
    if (this.#state.useWith(to, machine, leaving) > this.ceiling) return false;
    return this.#problem.hosts[to]?.open === true && this.#state.mayCome(machine, to, leaving);
  }

  /** Once a plan: whoever has moved may only change its target. */
  #mayMove(machine: number): boolean {
    return !this.#moved.has(machine) && this.#problem.machines[machine]?.movable === true;
  }

  #price(machine: number): number {
    return (this.#problem.machines[machine]?.moveSeconds ?? 0) * this.#options.pricePerSecond;
  }
}

/** With why each is there; up to where the cluster is most even, since the other half of an exchange may have been left out. */
function explained(problem: BalanceProblem, moves: readonly OrderedMove[]): BalancePlan {
  const state = new BalanceState(problem);
  const before = scoreOf(state);
  let [gained, most, useful, after] = [0, 0, 0, before];
  const told = moves.map((move, index): BalanceMove => {
    const { machine, from, to } = move;
    const harm = (): number => state.harm(from) + state.harm(to);
    const [fromUse, toUse, harmBefore] = [state.bindingUse(from), state.bindingUse(to), harm()];
    state.move(machine, to);
    gained += harmBefore - harm();
    if (gained > most + slightest) [most, useful, after] = [gained, index + 1, scoreOf(state)];
    return {
      ...move,
      fromPercent: [percent(fromUse), percent(state.bindingUse(from))],
      toPercent: [percent(toUse), percent(state.bindingUse(to))],
    };
  });
  return { moves: told.slice(0, useful), before, after };
}

/** What a sum of many figures may be off by. */
const slightest = 1e-12;

export function scoreOf(state: BalanceState): BalanceScore {
  let [harm, hottest] = [0, 0];
  for (let host = 0; host < state.hostCount; host += 1) {
    harm += state.harm(host);
    hottest = Math.max(hottest, state.bindingUse(host));
  }
  return {
    spreadPoints: 100 * Math.sqrt(harm / Math.max(1, state.hostCount)),
    hottestPercent: percent(hottest),
    levelPercent: percent(state.level),
  };
}

/** The `most` elements with the least keys, in that order; equal keys keep the order of `all`. O(all) where few are asked for. */
function least(all: readonly number[], most: number, key: (element: number) => number): number[] {
  if (most >= all.length) return all.toSorted((a, b) => key(a) - key(b));
  const found: number[] = [];
  let last = Number.POSITIVE_INFINITY;
  for (const element of all) {
    const of = key(element);
    if (found.length === most && of >= last) continue;
    const at = found.findIndex((other) => key(other) > of);
    found.splice(at === -1 ? found.length : at, 0, element);
    if (found.length > most) found.pop();
    last = key(found.at(-1) ?? element);
  }
  return found;
}

const percent = (share: number): number => 100 * share;
