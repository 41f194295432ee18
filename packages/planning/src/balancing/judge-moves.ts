/**
 * Whether moves that were thought out a while ago still are what they were: each of them possible, and together worth about what was promised.
 * (The cluster as it is now, moves) → what they come to. For advice that waits for a person's word. Pure.
 */
import { scoreOf, type BalanceScore } from "./balance-plan.ts";
import type { BalanceProblem } from "./balance-problem.ts";
import { BalanceState } from "./balance-state.ts";

export interface JudgedMove {
  /** Indexes of the problem; -1: it is not there any more. */
  readonly machine: number;
  readonly from: number;
  readonly to: number;
}

export interface Judgement {
  readonly before: BalanceScore;
  /** With those moves that are possible. */
  readonly after: BalanceScore;
  /** By index of the moves. */
  readonly impossible: readonly { readonly move: number; readonly why: string }[];
}

/** @param hotUse binding use, 0 … 1, that no move brings a host above, unless the whole cluster is */
export function judgeMoves(problem: BalanceProblem, moves: readonly JudgedMove[], hotUse: number): Judgement {
  const state = new BalanceState(problem);
  const before = scoreOf(state);
  const impossible: { move: number; why: string }[] = [];
  for (const [index, move] of moves.entries()) {
    const why = refusal(problem, state, move, Math.max(hotUse, state.level));
    if (why === null) state.move(move.machine, move.to);
    else impossible.push({ move: index, why });
  }
  return { before, after: scoreOf(state), impossible };
}

function refusal({ hosts, machines }: BalanceProblem, state: BalanceState, { machine, from, to }: JudgedMove, ceiling: number): string | null {
  const [moved, target] = [machines[machine], hosts[to]];
  if (!moved || state.hostOf(machine) !== from) return "it is not there any more";
  if (!moved.movable) return "it may not be moved now";
  if (target?.open !== true) return "its target takes no machines now";
  if (!state.mayCome(machine, to)) return "its target has no room for it any more, or a rule forbids it";
  // A host may be as hot as the one that is relieved by it: by way of it others may be moved.
  if (state.useWith(to, machine) > Math.max(ceiling, state.bindingUse(from))) return "its target has become too hot for it";
  return null;
}

/** What moves of which so many are possible must come to, of what was promised, to be what was promised. */
const enough = 0.5;

/** Why the moves are not what they were any more; `null`: they are. The measure is what balancing makes small: the mean square distance from the level. */
export function movesOutdated(
  { before, after, impossible }: Judgement,
  promised: { readonly before: Pick<BalanceScore, "spreadPoints">; readonly after: Pick<BalanceScore, "spreadPoints"> },
): string | null {
  const [first] = impossible;
  if (first) return impossible.length === 1 ? first.why : `${impossible.length} of its moves are not possible any more`;
  const gain = (from: Pick<BalanceScore, "spreadPoints">, to: Pick<BalanceScore, "spreadPoints">): number =>
    from.spreadPoints ** 2 - to.spreadPoints ** 2;
  return gain(before, after) < enough * gain(promised.before, promised.after) ? "hosts are used otherwise than when it was made" : null;
}
