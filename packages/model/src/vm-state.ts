/**
 * The state of a machine as people see it, and the one table of what is allowed in which state. API, CLI, console and
 * controllers ask here; a refusal is a sentence that says what would make it allowed.
 */
import { wishesForDevices } from "./passthrough.ts";
import type { SheafRecord } from "./record.ts";
import type { VmObservation, VmSpec, VmStatus } from "./vm.ts";

export const vmStates = [
  "pending",
  "creating",
  "stopped",
  "starting",
  "running",
  "paused",
  "stopping",
  "migrating",
  "crashed",
  "failed",
  "unreachable",
  "deleting",
] as const;
export type VmState = (typeof vmStates)[number];

export type VmRecord = SheafRecord<VmSpec, VmStatus>;

/** @param hostReachable whether the agent of its host is connected now. */
export function vmState(vm: VmRecord, hostReachable: boolean): VmState {
  if (vm.deletedAt !== undefined) return "deleting";
  if (!vm.placement) return vm.spec.power === "stopped" ? "stopped" : "pending";
  if (!hostReachable) return "unreachable";
  if (vm.status.migration) return "migrating";
  const seen = vm.status.agent;
  if (!seen || seen.epoch < vm.placement.epoch) return seen?.state === "running" ? "running" : "creating";
  switch (seen.state) {
    case "preparing":
      return "creating";
    case "incoming":
      return "migrating";
    case "gone":
      return "stopped";
    case "stopped":
    case "starting":
    case "running":
    case "paused":
    case "stopping":
    case "crashed":
    case "failed":
      return seen.state;
  }
}

/** Whether it has given way, and runs no more: its agent has heard of it and says so. Until then it takes its room. */
export function hasGivenWay({ placement, status }: Pick<VmRecord, "placement" | "status">): boolean {
  const seen = status.agent;
  if (status.yield === undefined || status.yield.epoch !== placement?.epoch || seen?.epoch !== placement.epoch) return false;
  return seen.gaveWay === status.yield.since && !mayHoldMemory.has(seen.state);
}
/** A crashed QEMU may be kept for a look at it. */
const mayHoldMemory: ReadonlySet<string> = new Set<VmObservation["state"]>(["starting", "running", "paused", "stopping", "incoming", "crashed"]);

export type VmAction = "start" | "stop" | "force-off" | "reboot" | "reset" | "pause" | "resume" | "migrate" | "clone" | "delete" | "console";

const busy = { pending: "it waits for a host: free capacity or change its placement first", creating: "it is being made: wait until it has started" };
const gone = "it is being deleted";
const lost = "its host is unreachable: wait until the host is back, or remove the host";

const allowed: Record<VmAction, Record<VmState, true | string>> = {
  start: {
    pending: "it is to start already and waits for a host",
    creating: "it is being made and starts by itself",
    stopped: true,
    starting: "it is starting already",
    running: true,
    paused: "it is paused: resume it",
    stopping: true,
    migrating: "it is running, on the move",
    crashed: true,
    failed: true,
    unreachable: lost,
    deleting: gone,
  },
  stop: {
    pending: true,
    creating: true,
    stopped: "it is stopped already",
    starting: true,
    running: true,
    paused: true,
    stopping: true,
    migrating: "it is moving: wait for the migration, or cancel it",
    crashed: true,
    failed: true,
    unreachable: true,
    deleting: gone,
  },
  "force-off": {
    pending: true,
    creating: true,
    stopped: "it is stopped already",
    starting: true,
    running: true,
    paused: true,
    stopping: true,
    migrating: "it is moving: cancel the migration first",
    crashed: true,
    failed: true,
    unreachable: true,
    deleting: gone,
  },
  reboot: {
    ...busy,
    stopped: "it is stopped: start it",
    starting: "it is starting",
    running: true,
    paused: "it is paused: resume it first",
    stopping: "it is stopping",
    migrating: "it is moving: wait for the migration",
    crashed: "it has crashed: start it",
    failed: "it does not run: start it",
    unreachable: lost,
    deleting: gone,
  },
  reset: {
    ...busy,
    stopped: "it is stopped: start it",
    starting: "it is starting",
    running: true,
    paused: "it is paused: resume it first",
    stopping: true,
    migrating: "it is moving: wait for the migration",
    crashed: "it has crashed: start it",
    failed: "it does not run: start it",
    unreachable: lost,
    deleting: gone,
  },
  pause: {
    ...busy,
    stopped: "it is stopped",
    starting: "it is starting: wait until it runs",
    running: true,
    paused: "it is paused already",
    stopping: "it is stopping",
    migrating: "it is moving: wait for the migration",
    crashed: "it has crashed",
    failed: "it does not run",
    unreachable: lost,
    deleting: gone,
  },
  resume: {
    ...busy,
    stopped: "it is stopped: start it",
    starting: "it is starting",
    running: "it is running",
    paused: true,
    stopping: "it is stopping",
    migrating: "it is moving: wait for the migration",
    crashed: "it has crashed: start it",
    failed: "it does not run: start it",
    unreachable: lost,
    deleting: gone,
  },
  migrate: {
    ...busy,
    stopped: true,
    starting: "it is starting: wait until it runs",
    running: true,
    paused: "it is paused: resume it first",
    stopping: "it is stopping",
    migrating: "it is moving already",
    crashed: "it has crashed: start it",
    failed: "it does not run: start it",
    unreachable: lost,
    deleting: gone,
  },
  clone: {
    ...busy,
    stopped: true,
    starting: "stop it first: only disks of a stopped machine are copied",
    running: "stop it first: only disks of a stopped machine are copied",
    paused: "stop it first: only disks of a stopped machine are copied",
    stopping: "it is stopping: wait until it has stopped",
    migrating: "it is moving: wait for the migration",
    crashed: true,
    failed: true,
    unreachable: lost,
    deleting: gone,
  },
  delete: {
    pending: true,
    creating: true,
    stopped: true,
    starting: true,
    running: true,
    paused: true,
    stopping: true,
    migrating: "it is moving: wait for the migration, or cancel it",
    crashed: true,
    failed: true,
    unreachable: true,
    deleting: "it is being deleted already",
  },
  console: {
    ...busy,
    stopped: "it is stopped: start it",
    starting: true,
    running: true,
    paused: true,
    stopping: true,
    migrating: true,
    crashed: "it has crashed: start it",
    failed: "it does not run: start it",
    unreachable: lost,
    deleting: gone,
  },
};

/** @returns `null` where `action` is allowed, else the reason in words. A protected machine refuses `delete` in every state. */
export function vmRefusal(action: VmAction, state: VmState, spec: Pick<VmSpec, "protected" | "gpus" | "pciDevices">): string | null {
  if (action === "delete" && spec.protected) return "it is protected: clear `protected` first";
  if (action === "migrate" && state === "running" && wishesForDevices(spec))
    return `it has ${spec.gpus === undefined ? "PCI devices" : "GPUs"} of its host for itself, whose state cannot be carried: stop it first, then it moves`;
  const answer = allowed[action][state];
  return answer === true ? null : answer;
}
