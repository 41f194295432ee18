/** When a cluster in automatic mode is balanced: once it has been bad for long enough, and not again soon after. Pure. */
import type { ClusterBalancing } from "@sheaf/model";
import type { BalanceScore } from "./balance-plan.ts";

export interface Unease {
  /** Since when it has been bad at every look; absent: it is not. Monotonic, ms. */
  readonly since?: number;
  /** When the last plan ended; absent: none is known. */
  readonly plannedAt?: number;
}

export interface BalanceDue {
  readonly unease: Unease;
  readonly due: boolean;
  /** It is how hosts are used, or expected to be, that calls for it; else broken rules or a machine that waits do, and nothing else is to be moved. */
  readonly byUse: boolean;
}

/**
 * @param score now, with what is expected of the hours to come, whether a host may come free (goal `consolidate`), and whether a rule is broken or
 * a machine waits for room
 */
export function balanceDue(score: SeenScore, settings: ClusterBalancing, before: Unease, now: number): BalanceDue {
  const { since: _over, ...rest } = before;
  const byUse = isBad(score, settings);
  if (!byUse && score.needful !== true) return { unease: rest, due: false, byUse };
  const since = before.since ?? now;
  const rested = before.plannedAt === undefined || now - before.plannedAt >= settings.pauseMinutes * 60_000;
  return { unease: { ...before, since }, due: rested && now - since >= settings.patienceMinutes * 60_000, byUse };
}

type SeenScore = BalanceScore & { readonly freeable?: boolean; readonly needful?: boolean; readonly expected?: BalanceScore };

/** What is only expected must be above the limit by so much: forecasts move by the hour, and a plan leaves hosts close below. */
const expectedPoints = 3;

function isBad({ hottestPercent, spreadPoints, freeable, expected }: SeenScore, settings: ClusterBalancing): boolean {
  const { goal, hotPercent, unevenPoints } = settings;
  if (hottestPercent > hotPercent || (expected && expected.hottestPercent > hotPercent + expectedPoints)) return true;
  return (goal === "even" && (expected?.spreadPoints ?? spreadPoints) > unevenPoints) || (goal === "consolidate" && freeable === true);
}
