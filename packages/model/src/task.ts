/**
 * A task: the receipt of a change that takes effect later, or a verb that is no state (reboot, migrate, clone).
 * Parts: `spec` the server in the asking transaction · `status/controller` a controller · `status/agent` the agent of `spec.host`.
 * Its log is fleeting and never in the store.
 */
import { z } from "zod";
import { kinds } from "./record.ts";
import { Timestamp } from "./fields.ts";

export const taskVerbs = [
  "create",
  "change",
  "delete",
  "start",
  "stop",
  "force-off",
  "pause",
  "resume",
  "reboot",
  "reset",
  "migrate",
  "clone",
  "drain",
  "maintain",
  "activate",
  "import",
  "backup",
  "adopt",
  "recover",
  "fence",
  "confirm-off",
  "upgrade",
  "balance",
  "sleep",
  "wake",
  "give-way",
] as const;

export const TaskSpec = z.strictObject({
  verb: z.enum(taskVerbs),
  target: z.strictObject({ kind: z.enum(kinds), id: z.string(), name: z.string() }),
  /** Done when the target's writers have seen this generation. Absent for verbs with work of their own. */
  generation: z.int().optional(),
  /** Host whose agent does the work; absent where a controller does. */
  host: z.string().optional(),
  /** What the verb needs, checked by its route's schema. */
  parameters: z.record(z.string(), z.unknown()).default({}),
  requestedBy: z.string(),
  /** Task this one is a step of: a migration of a drain. */
  parent: z.string().optional(),
  cancelRequestedAt: Timestamp.optional(),
});
export type TaskSpec = z.infer<typeof TaskSpec>;

export const TaskProgress = z.looseObject({
  state: z.enum(["running", "succeeded", "failed", "cancelled"]),
  /** What is happening now, or how it ended. */
  message: z.string(),
  /** 0 … 100 where it can be told. */
  percent: z.number().min(0).max(100).optional(),
  steps: z.array(z.looseObject({ name: z.string(), state: z.enum(["waiting", "running", "done", "failed"]), at: Timestamp.optional() })).optional(),
  startedAt: Timestamp,
  endedAt: Timestamp.optional(),
  /** Set with `failed`: a code of model/errors and what to do. */
  problem: z.looseObject({ code: z.string(), detail: z.string(), next: z.string().optional(), cause: z.string().optional() }).optional(),
  /** Figures of the work: bytes moved, downtime. */
  result: z.record(z.string(), z.unknown()).optional(),
});
export type TaskProgress = z.infer<typeof TaskProgress>;
export interface TaskStatus {
  readonly controller?: TaskProgress;
  readonly agent?: TaskProgress;
}

export type TaskState = "waiting" | TaskProgress["state"];
/** The one place that says how a task stands. An ended part wins over a running one. */
export function taskProgress(status: TaskStatus): TaskProgress | null {
  const { controller, agent } = status;
  if (controller && controller.state !== "running") return controller;
  return agent ?? controller ?? null;
}
export const taskState = (status: TaskStatus): TaskState => taskProgress(status)?.state ?? "waiting";
