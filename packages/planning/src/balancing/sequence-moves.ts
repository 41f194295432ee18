/**
 * The order in which machines reach their new hosts: each move is possible when its turn comes, since a machine is promised its room on both
 * hosts while it moves. Where moves wait for each other in a circle, one of them goes by way of a third host; where there is none with room, it
 * is left out. No host is made hotter on the way than the ceiling, or than it will be or was in any case. Pure.
 */
import type { BalanceProblem } from "./balance-problem.ts";
import { BalanceState } from "./balance-state.ts";

export interface OrderedMove {
  /** Indexes of the problem. */
  readonly machine: number;
  readonly from: number;
  readonly to: number;
  /** Earlier moves, by index in the sequence, that must have ended first: they make the room that this one takes. Without any it may run at once. */
  readonly after: readonly number[];
}

export interface Sequence {
  readonly moves: readonly OrderedMove[];
  /** Machines that stay where they are although a target was named. */
  readonly leftOut: readonly number[];
}

interface Wanted {
  readonly machine: number;
  readonly to: number;
}

/**
 * @param wanted at most one for each machine, the most useful first: of those that are possible the first goes
 * @param ceiling binding use, 0 … 1, that a move brings no host above. O(moves² in the worst case, moves otherwise)
 */
export function sequenceMoves(problem: BalanceProblem, wanted: readonly Wanted[], ceiling: number): Sequence {
  const state = new BalanceState(problem);
  const limits = limitsOf(problem, wanted, ceiling);
  const moves: OrderedMove[] = [];
  const leftOut: number[] = [];
  const leftFrom = problem.hosts.map((): number[] => []);
  let waiting = [...wanted];

  const mayGo = (machine: number, to: number): boolean =>
    to !== state.hostOf(machine) && state.mayCome(machine, to) && state.useWith(to, machine) <= (limits[to] ?? ceiling);
  const go = (machine: number, to: number): void => {
    const from = state.hostOf(machine);
    const mine = moves.findLastIndex((move) => move.machine === machine);
    const after = [...(mine === -1 ? [] : [mine]), ...roomMadeBy(state, machine, to, leftFrom[to] ?? [], moves)];
    state.move(machine, to);
    leftFrom[from]?.push(moves.length);
    moves.push({ machine, from, to, after: [...new Set(after)].toSorted((a, b) => a - b) });
  };

  while (waiting.length > 0) {
    const still = waiting.filter(({ machine, to }) => {
      if (!mayGo(machine, to)) return true;
      go(machine, to);
      return false;
    });
    if (still.length < waiting.length) {
      waiting = still;
      continue;
    }
    // A circle: one that has not been put aside yet goes to a third host, if that lets another one pass; else the least useful is given up.
    const aside = asideFor(problem, state, waiting, mayGo);
    if (aside === undefined) leftOut.push(waiting.pop()?.machine ?? -1);
    else go(aside.machine, aside.to);
  }
  return { moves, leftOut };
}

/** The host and machine to put aside so that another machine can go at once; the smallest such machine. */
function asideFor(
  problem: BalanceProblem,
  state: BalanceState,
  waiting: readonly Wanted[],
  mayGo: (machine: number, to: number) => boolean,
): Wanted | undefined {
  const origin = (machine: number): number => problem.machines[machine]?.host ?? -1;
  const bySize = waiting
    .filter(({ machine }) => state.hostOf(machine) === origin(machine))
    .toSorted((a, b) => (problem.machines[a.machine]?.moveSeconds ?? 0) - (problem.machines[b.machine]?.moveSeconds ?? 0) || a.machine - b.machine);
  for (const { machine, to } of bySize) {
    const here = state.hostOf(machine);
    const helps = waiting.some((other) => other.to === here && state.mayCome(other.machine, here, machine));
    if (!helps) continue;
    for (let third = 0; third < state.hostCount; third += 1)
      if (third !== to && third !== here && problem.hosts[third]?.open === true && mayGo(machine, third)) return { machine, to: third };
  }
  return undefined;
}

/** Binding use that each host may reach on the way: where it stands before or after all moves above the ceiling, that. */
function limitsOf(problem: BalanceProblem, wanted: readonly Wanted[], ceiling: number): Float64Array {
  const state = new BalanceState(problem);
  const limits = Float64Array.from(problem.hosts, (_, host) => Math.max(ceiling, state.bindingUse(host)));
  for (const { machine, to } of wanted) state.move(machine, to);
  // What a sum of many figures is off by is no reason to wait.
  return limits.map((limit, host) => Math.max(limit, state.bindingUse(host)) + 1e-9);
}

/** Which of the moves that left `to` this one cannot do without: as few as there must be, the earliest first. */
function roomMadeBy(state: BalanceState, machine: number, to: number, left: readonly number[], moves: readonly OrderedMove[]): number[] {
  const gone = left.map((index) => moves[index]?.machine ?? -1);
  const needed: number[] = [];
  while (needed.length < left.length) {
    // As if all that have left were still there, but those that are waited for.
    if (
      state.mayComeAmong(
        machine,
        to,
        gone.filter((_, at) => !needed.includes(at)),
      )
    )
      break;
    needed.push(needed.length);
  }
  return needed.map((at) => left[at] ?? -1);
}
