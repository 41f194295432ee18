/** libvirt's numbers in the agent's words. Used by libvirt-hypervisor.ts alone. */
import {
  DomainState as LibvirtState,
  LifecycleEvent,
  PausedReason,
  RunningReason,
  ShutdownDetail,
  ShutoffReason,
  StoppedDetail,
  SuspendedDetail,
  type DomainStatistics as LibvirtStatistics,
  type ParameterValue,
} from "@sheaf/libvirt";
import type { DomainMark, DomainReason, DomainState, DomainStatistics, HypervisorEvent, JobFigures } from "./ports.ts";

export function stateOf(state: number, reason: number): { readonly state: DomainState; readonly reason: DomainReason } {
  switch (state) {
    case LibvirtState.running:
    case LibvirtState.blocked:
      return {
        state: "running",
        reason: reason === RunningReason.migrated ? "migrated" : reason === RunningReason.postCopy ? "post-copy" : "booted",
      };
    case LibvirtState.paused:
    case LibvirtState.pmSuspended:
      return { state: "paused", reason: state === LibvirtState.pmSuspended ? "other" : pausedReason(reason) };
    case LibvirtState.shutdown:
      return { state: "stopping", reason: "shutdown" };
    case LibvirtState.crashed:
      return { state: "crashed", reason: "crashed" };
    default:
      return { state: "stopped", reason: stoppedReason(reason) };
  }
}

function pausedReason(reason: number): DomainReason {
  switch (reason) {
    case PausedReason.user:
      return "user";
    case PausedReason.migration:
      return "migration";
    case PausedReason.ioError:
      return "io-error";
    case PausedReason.crashed:
      return "crashed";
    case PausedReason.startingUp:
      return "starting-up";
    case PausedReason.postCopy:
      return "post-copy";
    case PausedReason.postCopyFailed:
      return "post-copy-failed";
    default:
      return "other";
  }
}

function stoppedReason(reason: number): DomainReason {
  switch (reason) {
    case ShutoffReason.shutdown:
      return "shutdown";
    case ShutoffReason.destroyed:
      return "destroyed";
    case ShutoffReason.crashed:
      return "crashed";
    case ShutoffReason.migrated:
      return "migrated";
    case ShutoffReason.saved:
      return "saved";
    case ShutoffReason.failed:
      return "failed";
    default:
      return "unknown";
  }
}

type Lifecycle = Extract<HypervisorEvent, { type: "lifecycle" }>;
const lifecycleNames: Readonly<Record<number, Lifecycle["event"]>> = {
  [LifecycleEvent.defined]: "defined",
  [LifecycleEvent.undefined]: "undefined",
  [LifecycleEvent.started]: "started",
  [LifecycleEvent.suspended]: "suspended",
  [LifecycleEvent.resumed]: "resumed",
  [LifecycleEvent.stopped]: "stopped",
  [LifecycleEvent.shutdown]: "shutdown",
  [LifecycleEvent.crashed]: "crashed",
};

export function lifecycleOf(uuid: string, event: number, detail: number): Lifecycle {
  return { type: "lifecycle", uuid, event: lifecycleNames[event] ?? "other", detail: detailOf(event, detail) };
}

function detailOf(event: number, detail: number): Lifecycle["detail"] {
  if (event === LifecycleEvent.shutdown) return detail === ShutdownDetail.guest ? "guest" : detail === ShutdownDetail.host ? "host" : "shutdown";
  if (event === LifecycleEvent.suspended)
    return detail === SuspendedDetail.ioError ? "io-error" : detail === SuspendedDetail.migrated ? "migration" : "other";
  if (event !== LifecycleEvent.stopped) return "other";
  switch (detail) {
    case StoppedDetail.shutdown:
      return "shutdown";
    case StoppedDetail.destroyed:
      return "destroyed";
    case StoppedDetail.crashed:
      return "crashed";
    case StoppedDetail.migrated:
      return "migrated";
    case StoppedDetail.failed:
      return "failed";
    default:
      return "other";
  }
}

/** From the metadata element as libvirt answers it (`<machine id='…' …/>`). @returns undefined for what is none */
export function markOf(metadata: string): DomainMark | undefined {
  const attribute = (name: string): string | undefined => new RegExp(`\\s${name}=["']([^"']*)["']`).exec(metadata)?.[1];
  const id = attribute("id");
  const epoch = Number(attribute("epoch"));
  const incarnation = attribute("incarnation");
  const generation = Number(attribute("generation"));
  if (id === undefined || incarnation === undefined || !Number.isSafeInteger(epoch) || !Number.isSafeInteger(generation)) return undefined;
  const boot = (attribute("boot") ?? "").split(" ").filter((kind) => kind === "disk" || kind === "cdrom" || kind === "network");
  return { id, epoch, incarnation, generation, cpu: attribute("cpu") ?? "", boot };
}

const number = (values: Readonly<Record<string, ParameterValue>>, name: string): number => {
  const value = values[name];
  return typeof value === "number" || typeof value === "bigint" ? Number(value) : 0;
};

/** `net.0.rx.bytes`, `net.1.rx.bytes` … added up. */
function sum(values: Readonly<Record<string, ParameterValue>>, group: string, figure: string): number {
  let total = 0;
  for (let index = 0; index < number(values, `${group}.count`); index += 1) total += number(values, `${group}.${index}.${figure}`);
  return total;
}

export function statisticsOf({ domain, values }: LibvirtStatistics): DomainStatistics {
  const available = number(values, "balloon.available");
  const inside = available - number(values, "balloon.unused");
  // Linux' MemAvailable (virtio-balloon statistics, VIRTIO_BALLOON_S_AVAIL); older and other drivers only know what is free.
  const usable = values["balloon.usable"] === undefined ? undefined : number(values, "balloon.usable");
  return {
    uuid: domain.uuid,
    cpuTimeNs: number(values, "cpu.time"),
    vcpus: number(values, "vcpu.current"),
    balloonBytes: number(values, "balloon.current") * 1024,
    memoryUsedBytes: (available > 0 && values["balloon.unused"] !== undefined ? inside : number(values, "balloon.rss")) * 1024,
    ...(available > 0 && usable !== undefined ? { memoryAvailableBytes: usable * 1024 } : {}),
    diskReadBytes: sum(values, "block", "rd.bytes"),
    diskWriteBytes: sum(values, "block", "wr.bytes"),
    netReceiveBytes: sum(values, "net", "rx.bytes"),
    netTransmitBytes: sum(values, "net", "tx.bytes"),
    // In the host's run queue: what the guest sees as stolen.
    cpuWaitNs: Array.from({ length: number(values, "vcpu.maximum") }, (_, vcpu) => number(values, `vcpu.${vcpu}.delay`)).reduce(
      (all, one) => all + one,
      0,
    ),
    residentBytes: number(values, "balloon.rss") * 1024,
    diskReads: sum(values, "block", "rd.reqs"),
    diskWrites: sum(values, "block", "wr.reqs"),
    diskTimeNs: sum(values, "block", "rd.times") + sum(values, "block", "wr.times"),
  };
}

/** Names of virDomainGetJobStats; times in ms, sizes in bytes. */
export function jobFiguresOf(values: Readonly<Record<string, ParameterValue>>): JobFigures {
  return {
    elapsedMs: number(values, "time_elapsed"),
    totalBytes: number(values, "data_total"),
    processedBytes: number(values, "data_processed"),
    remainingBytes: number(values, "data_remaining"),
    memoryBytes: number(values, "memory_processed"),
    diskBytes: number(values, "disk_processed"),
    bytesPerSecond: number(values, "memory_bps") + number(values, "disk_bps"),
    iterations: number(values, "memory_iteration"),
    downtimeMs: number(values, "downtime"),
  };
}
