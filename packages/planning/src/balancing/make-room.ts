/**
 * Room for a machine that fits nowhere although enough is free in pieces: which few machines to move so that one host can take it. The fewest
 * moves, and of those the quickest. Asked for a request that waits; whether it really comes there is placement's decision afterwards. Pure.
 */
import type { BalanceMachine, BalanceProblem } from "./balance-problem.ts";
import { BalanceState } from "./balance-state.ts";
import { leastHarm } from "./mend-rules.ts";
import { type OrderedMove, sequenceMoves } from "./sequence-moves.ts";

export interface WantedRoom {
  readonly cpus: number;
  readonly memoryBytes: number;
  /** All rules but capacity. */
  readonly mayRun: (host: number) => boolean;
}

export interface RoomPlan {
  /** Index of the problem. */
  readonly host: number;
  /** None: it has the room already. */
  readonly moves: readonly OrderedMove[];
}

export interface RoomOptions {
  /** Binding use, 0 … 1, that no move brings a host above. */
  readonly hotUse: number;
  readonly maximumMoves: number;
}

/** Up to so many moves all choices of machines are looked at; beyond, the largest are taken. */
const searchedMoves = 3;

/** @returns `null`: no host can be cleared so far. O(hosts × machines of a host ^ moves, three at most) */
export function planRoom(problem: BalanceProblem, wanted: WantedRoom, { hotUse, maximumMoves }: RoomOptions): RoomPlan | null {
  const state = new BalanceState(problem);
  const search = new RoomSearch(problem, state, Math.max(hotUse, state.level));
  const hosts = problem.hosts.flatMap(({ open }, host) => (open && wanted.mayRun(host) ? [search.candidate(host, wanted)] : []));
  for (let count = 0; count <= maximumMoves; count += 1) {
    let best: Found | null = null;
    for (const candidate of hosts) if (candidate.fewest <= count) best = search.cheaper(candidate, count, best);
    if (best === null) continue;
    const { moves, leftOut } = sequenceMoves(problem, best.moves, search.ceiling);
    if (leftOut.length === 0) return { host: best.host, moves };
  }
  return null;
}

interface Candidate {
  readonly host: number;
  /** What it lacks for the machine. */
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Indexes of machines that may leave, the largest first. */
  readonly machines: readonly number[];
  /** No fewer moves can do. */
  readonly fewest: number;
}

interface Found {
  readonly host: number;
  readonly seconds: number;
  readonly moves: readonly { readonly machine: number; readonly to: number }[];
}

class RoomSearch {
  readonly ceiling: number;
  readonly #problem: BalanceProblem;
  readonly #state: BalanceState;

  constructor(problem: BalanceProblem, state: BalanceState, ceiling: number) {
    this.#problem = problem;
    this.#state = state;
    this.ceiling = ceiling;
  }

  candidate(host: number, wanted: WantedRoom): Candidate {
    const free = this.#state.freePromises(host);
    const cpus = Math.max(0, wanted.cpus - free.cpus);
    const memoryBytes = Math.max(0, wanted.memoryBytes - free.memoryBytes);
    const mayLeave = this.#state.machinesOn(host).filter((machine) => this.#problem.machines[machine]?.movable === true);
    const share = (machine: number): number => shareOf(this.#machine(machine), cpus, memoryBytes);
    const machines = mayLeave.toSorted((a, b) => share(b) - share(a) || a - b);
    const needed = (lacks: number, figure: (machine: BalanceMachine) => number): number =>
      fewest(
        lacks,
        machines.map((machine) => figure(this.#machine(machine))),
      );
    const atLeast = Math.max(
      needed(cpus, ({ promisedCpus }) => promisedCpus),
      needed(memoryBytes, ({ promisedMemoryBytes }) => promisedMemoryBytes),
    );
    return { host, cpus, memoryBytes, machines, fewest: atLeast };
  }

  /** The quickest way to clear the host by exactly so many moves, where it is quicker than the best so far. */
  cheaper(candidate: Candidate, count: number, best: Found | null): Found | null {
    if (count > searchedMoves) {
      const largest = candidate.machines.slice(0, count);
      return this.#better(candidate, largest, best);
    }
    let found = best;
    const choose = (chosen: readonly number[], from: number): void => {
      if (chosen.length === count) {
        found = this.#better(candidate, chosen, found);
        return;
      }
      for (let at = from; at < candidate.machines.length; at += 1) choose([...chosen, candidate.machines[at] ?? -1], at + 1);
    };
    choose([], 0);
    return found;
  }

  #better(candidate: Candidate, chosen: readonly number[], best: Found | null): Found | null {
    const sum = (figure: (machine: BalanceMachine) => number): number => chosen.reduce((all, machine) => all + figure(this.#machine(machine)), 0);
    if (sum(({ promisedCpus }) => promisedCpus) < candidate.cpus) return best;
    if (sum(({ promisedMemoryBytes }) => promisedMemoryBytes) < candidate.memoryBytes) return best;
    const seconds = sum(({ moveSeconds }) => moveSeconds);
    if (best !== null && seconds >= best.seconds) return best;
    const moves = this.#targets(candidate.host, chosen);
    return moves === null ? best : { host: candidate.host, seconds, moves };
  }

  /** A host for each, where it does least harm. `null`: one of them finds none. */
  #targets(from: number, chosen: readonly number[]): Found["moves"] | null {
    const state = this.#state;
    const moves: { machine: number; to: number }[] = [];
    for (const machine of chosen) {
      const to = leastHarm(this.#problem, state, machine, this.ceiling);
      if (to === -1) break;
      state.move(machine, to);
      moves.push({ machine, to });
    }
    for (const { machine } of moves) state.move(machine, from);
    return moves.length === chosen.length ? moves : null;
  }

  #machine(index: number): BalanceMachine {
    const machine = this.#problem.machines[index];
    if (!machine) throw new RangeError(`there is no machine ${index}`);
    return machine;
  }
}

/** What it gives of all that is lacked. */
const shareOf = ({ promisedCpus, promisedMemoryBytes }: BalanceMachine, cpus: number, memoryBytes: number): number =>
  (cpus > 0 ? Math.min(1, promisedCpus / cpus) : 0) + (memoryBytes > 0 ? Math.min(1, promisedMemoryBytes / memoryBytes) : 0);

/** How many of these figures reach the sum at least; infinite where all do not. */
function fewest(sum: number, figures: readonly number[]): number {
  let [left, count] = [sum, 0];
  for (const figure of figures.toSorted((a, b) => b - a)) {
    if (left <= 0) break;
    left -= figure;
    count += 1;
  }
  return left > 0 ? Number.POSITIVE_INFINITY : count;
}
