/**
 * What would help a cluster, as it is kept until it is accepted, dismissed or needless: parts `status/advice` (the balancing controller) and
 * `status/dismissals` (users, through the API).
 */
import { z } from "zod";
import { RecordId, Timestamp } from "./fields.ts";

export const AdviceScore = z.object({ spreadPoints: z.number(), hottestPercent: z.number(), levelPercent: z.number() });

export const AdvisedMove = z.looseObject({
  vm: RecordId,
  name: z.string(),
  from: RecordId,
  to: RecordId,
  reason: z.string(),
  /** Indexes of the moves that must have ended before. */
  after: z.array(z.int().min(0)),
});
export type AdvisedMove = z.infer<typeof AdvisedMove>;

/** Why machines are to move, where it is not how hosts are used: some stand where a rule forbids it, or one waits for room. */
export const AdviceCause = z.union([
  z.strictObject({ kind: z.literal("rules") }),
  z.strictObject({ kind: z.literal("room"), vm: RecordId, name: z.string() }),
]);
export type AdviceCause = z.infer<typeof AdviceCause>;

export const ClusterAdvice = z.looseObject({
  /** What is accepted or dismissed: other moves are another advice. */
  id: RecordId,
  /** Since when moves have been called for without a break. */
  since: Timestamp,
  /** When these moves were thought out. */
  at: Timestamp,
  before: AdviceScore,
  promised: AdviceScore,
  moves: z.array(AdvisedMove),
  /** Names of hosts that the moves free: goal `consolidate`. */
  frees: z.array(z.string()),
  cause: AdviceCause.optional(),
});
export type ClusterAdvice = z.infer<typeof ClusterAdvice>;

/** A machine that is left where it is on a person's word, as long as it is there. */
export const Dismissal = z.looseObject({
  vm: RecordId,
  /** The host that it was to leave. */
  from: RecordId,
  by: z.string(),
  at: Timestamp,
  /** Absent: for good. */
  until: Timestamp.optional(),
});
export type Dismissal = z.infer<typeof Dismissal>;

export const ClusterDismissals = z.looseObject({ moves: z.array(Dismissal) });
export type ClusterDismissals = z.infer<typeof ClusterDismissals>;

/** More are not kept: whoever wants that turns balancing off, or settles machines. */
export const dismissalsKept = 500;

/** Those that still hold. @param hostOf where the machine is now */
export const standingDismissals = (
  kept: ClusterDismissals | undefined,
  now: number,
  hostOf: (vm: string) => string | undefined,
): readonly Dismissal[] => (kept?.moves ?? []).filter(({ vm, from, until }) => (until === undefined || until > now) && hostOf(vm) === from);
