/**
 * How the task stands that is the receipt of a change: (task, what it is about, now) → the part `status/controller`, only where it must be
 * written. A task costs the store one write at its end, and others only while it is slow: waiting for capacity, or under way for long.
 * Called by the receipts controller. Pure. Tasks with work of their own (`spec.host`, migrate, drain, clone of bytes …) end elsewhere.
 */
import { problems, taskProgress, type ProblemCode, type RecordOf, type TaskProgress, type VmObservation } from "@sheaf/model";

type Task = RecordOf<"task">;
export interface ReceiptInput {
  readonly task: Task;
  /** `undefined`: there is no such record any more. */
  readonly target: RecordOf<"vm"> | RecordOf<"volume"> | RecordOf<"image"> | RecordOf<"host"> | OtherRecord | undefined;
  /** A machine's volumes that exist, in the order of its disks. */
  readonly volumes: readonly RecordOf<"volume">[];
  readonly now: number;
  /** Whether the host of the task (`spec.host`) still has a record. */
  readonly hostExists: boolean;
  /** Before this age a task that is under way is not written, ms. */
  readonly quietMs: number;
}
/** Kinds whose change is done as soon as it is stored. */
export type OtherRecord = RecordOf<"cluster" | "pool" | "network" | "project" | "user" | "role" | "token" | "task">;

export interface ReceiptPlan {
  readonly write?: TaskProgress;
  /** ms from now after which it would be written although nothing happens. */
  readonly lookAgainMs?: number;
}

type Verdict =
  | { readonly state: "succeeded" | "cancelled"; readonly message: string; readonly steps?: Steps; readonly result?: Record<string, unknown> }
  | { readonly state: "failed"; readonly message: string; readonly code: ProblemCode; readonly next?: string; readonly steps?: Steps }
  /** `tell`: people wait for something that only they can change; written at once. */
  | { readonly state: "running"; readonly message: string; readonly steps?: Steps; readonly percent?: number; readonly tell?: boolean };
type Steps = readonly { readonly name: string; readonly state: "waiting" | "running" | "done" | "failed" }[];

/** Verbs whose tasks are only receipts. */
const receiptVerbs = new Set<Task["spec"]["verb"]>([
  "create",
  "change",
  "delete",
  "start",
  "stop",
  "force-off",
  "pause",
  "resume",
  "import",
  "clone",
  "recover",
]);

export const isReceipt = (task: Task): boolean => receiptVerbs.has(task.spec.verb) && task.spec.host === undefined;
/** Work of an agent (reboot, force-off): its agent ends it; here it is ended only when that agent never will. */
export const isAgentWork = (task: Task): boolean => task.spec.host !== undefined;
export const hasEnded = (task: Task): boolean => {
  const state = taskProgress(task.status)?.state;
  return state !== undefined && state !== "running";
};

export function planReceipt(input: ReceiptInput): ReceiptPlan {
  const { task, now, quietMs } = input;
  if (hasEnded(task)) return {};
  const verdict = isAgentWork(task) ? judgeAgentWork(input) : judge(input);
  if (verdict === null) return {};
  const previous = task.status.controller;
  if (verdict.state === "running") {
    if (previous?.message === verdict.message) return {};
    const ageMs = now - task.createdAt;
    if (!verdict.tell && ageMs < quietMs) return { lookAgainMs: quietMs - ageMs };
  }
  const ended = verdict.state !== "running";
  const startedAt = previous?.startedAt ?? task.createdAt;
  return {
    write: {
      state: verdict.state,
      message: verdict.message,
      startedAt,
      ...(ended ? { endedAt: now } : {}),
      ...(verdict.state === "succeeded"
        ? { percent: 100 }
        : verdict.state === "running" && verdict.percent !== undefined
          ? { percent: verdict.percent }
          : {}),
      ...(verdict.steps ? { steps: verdict.steps.map((step) => ({ ...step })) } : {}),
      ...(verdict.state === "failed"
        ? { problem: { code: verdict.code, detail: verdict.message, ...(verdict.next === undefined ? {} : { next: verdict.next }) } }
        : {}),
      ...(verdict.state === "succeeded" && verdict.result ? { result: verdict.result } : {}),
    },
  };
}

function judgeAgentWork({ task, target, hostExists }: ReceiptInput): Verdict | null {
  const { name } = task.spec.target;
  if (target === undefined) return { state: "cancelled", message: `${name} was deleted meanwhile` };
  if (target.deletedAt !== undefined) return { state: "cancelled", message: `${name} is being deleted` };
  if (!hostExists) return { state: "failed", code: "host-unreachable", message: "its host was removed" };
  const at = target.kind === "vm" ? target.placement?.host : undefined;
  if (at !== undefined && at !== task.spec.host)
    return { state: "failed", code: "state-refused", message: `${name} has moved to another host meanwhile`, next: "ask for it again" };
  return null;
}

function judge(input: ReceiptInput): Verdict {
  const { task, target } = input;
  const { verb } = task.spec;
  const name = task.spec.target.name;
  if (target === undefined) {
    if (verb === "delete") return { state: "succeeded", message: `${name} is deleted` };
    return { state: "cancelled", message: `${name} was deleted meanwhile` };
  }
  if (target.deletedAt !== undefined && verb !== "delete") return { state: "cancelled", message: `${name} is being deleted` };
  if (task.spec.cancelRequestedAt !== undefined && verb !== "delete")
    return { state: "cancelled", message: `no longer waited for; what was asked of ${name} stands: change or delete it to undo that` };
  if (verb === "delete") return judgeDeletion(target, name);
  switch (target.kind) {
    case "vm":
      return judgeVm(task, target as RecordOf<"vm">, input.volumes); // the kind says so
    case "volume":
      return judgeVolume(task, target as RecordOf<"volume">); // the kind says so
    case "image":
      return judgeImage(target as RecordOf<"image">); // the kind says so
    default:
      return { state: "succeeded", message: `${name} is changed` };
  }
}

function judgeDeletion(target: NonNullable<ReceiptInput["target"]>, name: string): Verdict {
  if (target.deletedAt === undefined) return { state: "cancelled", message: `${name} is not being deleted any more` };
  if (target.kind === "vm" && target.placement !== undefined) {
    const vm = target as RecordOf<"vm">; // the kind says so
    const gone = vm.status.agent?.state === "gone";
    return { state: "running", message: gone ? "removing its disks" : "waiting for its host to remove it", percent: gone ? 50 : 0 };
  }
  return { state: "running", message: "removing it", percent: 0 };
}

function judgeVm(task: Task, vm: RecordOf<"vm">, volumes: readonly RecordOf<"volume">[]): Verdict {
  const generation = task.spec.generation ?? 1;
  const creates = task.spec.verb === "create" || task.spec.verb === "clone";
  const { placement, status } = vm;
  const wanted = wantedState(task, vm);
  const steps = (placed: Step, disks: Step, last: Step): { steps: Steps } | object =>
    creates
      ? {
          steps: [
            { name: "placed", state: placed },
            { name: "disks", state: disks },
            { name: wanted === "stopped" ? "defined" : "started", state: last },
          ],
        }
      : {};

  if (placement === undefined) {
    // Nothing of it is anywhere: it is stopped, and a change counts when it gets a host.
    if (task.spec.verb === "stop" || task.spec.verb === "force-off") return { state: "succeeded", message: verbDone.stopped };
    if (task.spec.verb === "change") return { state: "succeeded", message: "changed; it has no host yet" };
    const pending = status.placement?.pending?.reason;
    return {
      state: "running",
      message: pending ?? "choosing a host",
      ...steps("running", "waiting", "waiting"),
      percent: 0,
      ...(pending === undefined ? {} : { tell: true }),
    };
  }
  const broken = volumes.find((volume) => volume.status.agent?.state === "failed");
  if (broken && creates)
    return {
      state: "failed",
      code: "hypervisor-failed",
      message: `disk ${broken.name} could not be made: ${broken.status.agent?.problem ?? "its host gives no reason"}`,
      next: "correct the cause; it is tried again while the machine exists, or delete the machine",
      ...steps("done", "failed", "waiting"),
    };
  const seen = current(vm);
  if (seen === undefined || seen.observedGeneration < generation) {
    const disks = volumes.every((volume) => volume.status.agent?.state === "ready");
    return {
      state: "running",
      message: seen?.problem ?? seen?.reason ?? "waiting for its host",
      ...steps("done", disks ? "done" : "running", disks ? "running" : "waiting"),
      percent: disks ? 60 : 20,
    };
  }
  if (seen.state === wanted) {
    const pending = seen.pendingChanges;
    return {
      state: "succeeded",
      message: pending.length > 0 ? `${verbDone[wanted]}; at the next start: ${pending.join("; ")}` : verbDone[wanted],
      ...steps("done", "done", "done"),
    };
  }
  if (seen.state === "failed" || seen.state === "crashed")
    return {
      state: "failed",
      code: "hypervisor-failed",
      message: seen.problem ?? seen.reason ?? (seen.state === "crashed" ? "the guest crashed" : "its host could not do it and gives no reason"),
      next: "look at the machine's status, correct the cause, then start it",
      ...steps("done", "done", "failed"),
    };
  // A change of something else is done whatever the power state is on its way to; so is one whose state a newer change has overtaken.
  if (task.spec.verb === "change" && settled(seen)) return { state: "succeeded", message: "seen by its host" };
  if (vm.generation > generation && settled(seen)) return { state: "succeeded", message: "overtaken by a newer change" };
  // It stays down until somebody wants it started.
  if (seen.state === "stopped" && seen.stoppedBy === "guest" && seen.startRequestSeen >= vm.spec.startRequest) {
    if (wanted === "running") return { state: "succeeded", message: "started, and shut down by the guest since", ...steps("done", "done", "done") };
    return {
      state: "failed",
      code: "state-refused",
      message: "the guest shut itself down meanwhile",
      next: "start it",
      ...steps("done", "done", "failed"),
    };
  }
  return {
    state: "running",
    message: seen.problem ?? seen.reason ?? `it is ${seen.state}`,
    ...steps("done", seen.state === "preparing" ? "running" : "done", "running"),
    percent: seen.state === "preparing" ? 30 : 80,
  };
}
type Step = Steps[number]["state"];

const verbDone = { running: "running", stopped: "stopped", paused: "paused" } as const;

/** What the agent of its present host says; older words of another host are not. */
function current(vm: RecordOf<"vm">): VmObservation | undefined {
  const seen = vm.status.agent;
  return seen !== undefined && vm.placement !== undefined && seen.epoch >= vm.placement.epoch ? seen : undefined;
}
const settled = (seen: VmObservation): boolean => ["running", "stopped", "paused"].includes(seen.state);

function wantedState(task: Task, vm: RecordOf<"vm">): "running" | "stopped" | "paused" {
  switch (task.spec.verb) {
    case "start":
    case "resume":
      return "running";
    case "stop":
    case "force-off":
      return "stopped";
    case "pause":
      return "paused";
    default:
      return vm.spec.power;
  }
}

function judgeVolume(task: Task, volume: RecordOf<"volume">): Verdict {
  const seen = volume.status.agent;
  const pending = volume.status.placement?.pending?.reason;
  if (volume.placement === undefined && pending !== undefined) return { state: "running", message: pending, percent: 0, tell: true };
  if (seen === undefined || seen.observedGeneration < (task.spec.generation ?? 1))
    return { state: "running", message: volume.placement ? "waiting for its host" : "choosing a host", percent: 0 };
  if (seen.state === "ready") return { state: "succeeded", message: "ready" };
  if (seen.state === "failed")
    return {
      state: "failed",
      code: "hypervisor-failed",
      message: seen.problem ?? "its host could not make it and gives no reason",
      next: "correct the cause, or delete the volume",
    };
  return { state: "running", message: seen.problem ?? `it is ${seen.state}`, percent: 50 };
}

function judgeImage(image: RecordOf<"image">): Verdict {
  const library = image.status.library;
  switch (library?.state) {
    case "ready":
      return { state: "succeeded", message: "ready", ...(library.fileBytes === undefined ? {} : { result: { fileBytes: library.fileBytes } }) };
    case "failed":
      return {
        state: "failed",
        code: library.code !== undefined && Object.hasOwn(problems, library.code) ? (library.code as ProblemCode) : "image-refused", // looked up just now
        message: library.problem ?? "it could not be taken in",
        next: "correct the source, then import it again",
      };
    case "checking":
      return { state: "running", message: "checking it", percent: 90 };
    case "receiving":
      return { state: "running", message: "receiving it" };
    case "waiting":
    case undefined:
      return {
        state: "running",
        message: "source" in image.spec && "upload" in image.spec.source ? "waiting for its content" : "waiting to be fetched",
        percent: 0,
      };
  }
}
