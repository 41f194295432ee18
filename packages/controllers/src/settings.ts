/** Times and limits of the controllers. All have defaults; `apps/server` may change them, tests make them short. */
export interface ControllerSettings {
  /** Silence of a host's agent that is put up with before it is called unreachable, by its cluster's `detection`. Uneven heartbeats lengthen it. */
  readonly unreachableAfterMs: Readonly<Record<"default" | "fast", number>>;
  /** Machines that found no room after their host was lost, or wait for others, are looked at again so often. */
  readonly failOverAgainMs: number;
  /** Changes of capacity are gathered for this long before machines that wait are looked at again. */
  readonly placementBatchMs: number;
  /** A machine that waits is told new figures (not: a new reason) at most this often. */
  readonly pendingTextMs: number;
  /** Receipts that are under way are written only when they are older. */
  readonly receiptQuietMs: number;
  /** Ended tasks are kept for so long, and at most so many. */
  readonly taskKeepMs: number;
  readonly taskKeepCount: number;
  readonly taskSweepMs: number;
  /** Deadline of each call of a migration but the copying itself, whose deadline is the task's. */
  readonly migrationCallMs: number;
  /** Pauses between tries of a migration's step: the first, doubled each time up to the last. */
  readonly migrationRetryMs: readonly [first: number, last: number];
  /** After a failed move a draining host tries that machine again. */
  readonly drainRetryMs: number;
  /** A host that does not answer is asked again about the domain to adopt this often, and for this long. */
  readonly adoptionRetryMs: number;
  readonly adoptionPatienceMs: number;
  /** An agent that was upgraded must stay connected for so long, and its machines as they were, before the next host's turn comes. */
  readonly upgradeSettleMs: number;
  /** Changes of availability are gathered for so long and written together. */
  readonly availabilityBatchMs: number;
  /** How often a cluster whose hosts sleep by themselves is looked at. */
  readonly powerLookMs: number;
  /** From the wish to the power being off; after how long a host that shuts itself down is cut off. */
  readonly sleepWithinMs: number;
  readonly cutAfterMs: number;
}

export const defaultControllerSettings: ControllerSettings = {
  unreachableAfterMs: { default: 10_000, fast: 4000 },
  failOverAgainMs: 5000,
  placementBatchMs: 50,
  pendingTextMs: 10_000,
  receiptQuietMs: 2000,
  taskKeepMs: 7 * 86_400_000,
  taskKeepCount: 10_000,
  taskSweepMs: 600_000,
  migrationCallMs: 60_000,
  migrationRetryMs: [500, 15_000],
  drainRetryMs: 30_000,
  adoptionRetryMs: 2000,
  adoptionPatienceMs: 60_000,
  upgradeSettleMs: 15_000,
  availabilityBatchMs: 1000,
  powerLookMs: 15_000,
  sleepWithinMs: 600_000,
  cutAfterMs: 120_000,
};
