/**
 * What an agent remembers of one machine beyond its document: what libvirt does not know and no server can tell it while it is cut
 * off. Kept on disk; changed by the planner alone (plan-machine.ts) and by the migration calls.
 */
import { z } from "zod";
import { vmAgentStates } from "@sheaf/model";

export const MachineMemory = z.looseObject({
  /** Placement under which this host has held the machine. */
  held: z.looseObject({ epoch: z.int(), incarnation: z.string() }).optional(),
  /** Told by the server to let it go, and not through with it yet. */
  removal: z
    .looseObject({ gone: z.boolean(), incarnation: z.string(), placement: z.looseObject({ epoch: z.int(), incarnation: z.string() }).optional() })
    .optional(),
  startRequestSeen: z.int(),
  state: z.enum(vmAgentStates),
  /** Ms since the epoch: when `state` began. */
  since: z.int(),
  reason: z.string().optional(),
  problem: z.string().optional(),
  stoppedBy: z.enum(["user", "guest", "crash", "host"]).optional(),
  startedAt: z.int().optional(),
  /** `startedAt` of the run in which the guest's agent has answered: only then is its silence a sign. */
  guestAnswered: z.int().optional(),
  lastEnd: z.looseObject({ at: z.int(), by: z.enum(["user", "guest", "crash", "host", "hang"]) }).optional(),
  /** It was started (or found running) and has not been seen stopped since: finding it stopped means that something happened. */
  expectRunning: z.boolean(),
  /** Boot of the host in which it was last seen running. */
  runningBoot: z.string().optional(),
  /** Its host has booted, and others are to be started first. */
  awaitsTurn: z.boolean().optional(),
  /** `since` of the word that it is to give way to another machine. */
  gaveWay: z.int().optional(),
  /** Newest generation of the spec that was wholly acted on, be it by giving up. */
  observedGeneration: z.int(),
  restarts: z.int(),
  /** The latest states, oldest first, `historyLength` at most. */
  history: z.array(z.looseObject({ at: z.int(), state: z.enum(vmAgentStates), reason: z.string().optional() })).optional(),
  /** When it crashed or failed to start, within the last ten minutes, oldest first. */
  failures: z.array(z.int()),
  /** Generation and start request at which it was given up as failed: a newer one of either tries again. */
  givenUp: z.looseObject({ generation: z.int(), startRequest: z.int() }).optional(),
  /** When it was first asked to shut down, and last. */
  stopAskedAt: z.int().optional(),
  stopPressedAt: z.int().optional(),
  pendingChanges: z.array(z.string()),
  /** Digest of what is in the seed image. */
  seedDigest: z.string().optional(),
  /** A migration that a `migrate.*` call has begun here and none has ended. */
  migration: z
    .looseObject({
      taskId: z.string(),
      role: z.enum(["source", "target"]),
      phase: z.string(),
      epoch: z.int(),
      newEpoch: z.int().optional(),
      /** Target: noted before each `Finish3`. From then on the guest may have run here. */
      mayHaveRun: z.boolean(),
      result: z.unknown().optional(),
    })
    .optional(),
});
export type MachineMemory = Readonly<z.infer<typeof MachineMemory>>;

export const historyLength = 12;

export const newMachineMemory = (now: number): MachineMemory => ({
  startRequestSeen: 0,
  observedGeneration: 0,
  state: "preparing",
  since: now,
  expectRunning: false,
  restarts: 0,
  history: [{ at: now, state: "preparing" }],
  failures: [],
  pendingChanges: [],
});

/** @returns `null` for what is no memory of a machine. */
export function readMachineMemory(value: unknown): MachineMemory | null {
  const result = MachineMemory.safeParse(value);
  return result.success ? result.data : null;
}
