/**
 * Moves for machines that stand where a rule forbids it: the rule came later, or a person or a lost host has put them there. Each goes where it
 * does least harm. Pure.
 */
import type { BalanceProblem } from "./balance-problem.ts";
import { BalanceState } from "./balance-state.ts";
import { type OrderedMove, sequenceMoves } from "./sequence-moves.ts";

export interface Misplaced {
  /** Index of the problem. */
  readonly machine: number;
  /** Whose rules it breaks together with others: once one of them has moved, the rest may be well. */
  readonly groups: readonly string[];
}

export interface MendOptions {
  /** Binding use, 0 … 1, that no move brings a host above. */
  readonly hotUse: number;
  readonly maximumMoves: number;
}

/** Of each group one moves: what is still broken then is the next plan's. O(misplaced × hosts) */
export function planMending(problem: BalanceProblem, misplaced: readonly Misplaced[], { hotUse, maximumMoves }: MendOptions): readonly OrderedMove[] {
  const state = new BalanceState(problem);
  const ceiling = Math.max(hotUse, state.level);
  const mended = new Set<string>();
  const moves: { machine: number; to: number }[] = [];
  // Of a group the one whose move is quickest.
  const seconds = (machine: number): number => problem.machines[machine]?.moveSeconds ?? 0;
  for (const { machine, groups } of misplaced.toSorted((a, b) => seconds(a.machine) - seconds(b.machine) || a.machine - b.machine)) {
    if (moves.length >= maximumMoves || problem.machines[machine]?.movable !== true || groups.some((group) => mended.has(group))) continue;
    const to = leastHarm(problem, state, machine, ceiling);
    if (to === -1) continue;
    state.move(machine, to);
    moves.push({ machine, to });
    for (const group of groups) mended.add(group);
  }
  return sequenceMoves(problem, moves, ceiling).moves;
}

/** The host that may take it and is least off the level with it; -1: none. */
export function leastHarm(problem: BalanceProblem, state: BalanceState, machine: number, ceiling: number): number {
  const from = state.hostOf(machine);
  let [to, least] = [-1, Number.POSITIVE_INFINITY];
  for (let host = 0; host < state.hostCount; host += 1) {
    if (host === from || problem.hosts[host]?.open !== true || state.useWith(host, machine) > ceiling) continue;
    const harm = state.harmWith(host, machine, -1) - state.harm(host);
    if (harm < least && state.mayCome(machine, host)) [to, least] = [host, harm];
  }
  return to;
}
