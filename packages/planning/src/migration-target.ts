/**
 * Whether and where a machine can move: (machine, hosts, what is promised) → a target, or why not. Called by the migration controller before
 * anything is begun, and by drains. Pure; the snapshot is asked, not changed.
 */
import { hasGivenWay, type HostObservation, type RecordOf } from "@sheaf/model";
import { rank, type PlacementRequest, type SnapshotIndex } from "@sheaf/scheduling";

export interface MigrationTargetInput {
  readonly vm: RecordOf<"vm">;
  /** The host it is on. */
  readonly source: RecordOf<"host">;
  /** The machine's request for a move (`snapshot.request(vm, "move")`). */
  readonly request: PlacementRequest;
  readonly snapshot: SnapshotIndex;
  readonly host: (id: string) => RecordOf<"host"> | undefined;
  /** Whether that host's agent can be asked now. */
  readonly connected: (hostId: string) => boolean;
  /** The only host wanted; absent: the best. */
  readonly target?: string;
  /** A stopped machine takes whatever CPU it finds at its next start. */
  readonly running: boolean;
}

export type MigrationTarget = { readonly host: string } | { readonly why: string };

export function chooseMigrationTarget(input: MigrationTargetInput): MigrationTarget {
  const { source, request, snapshot, target } = input;
  if (target === source.id) return { why: `it is on ${source.name} already` };
  // The cluster is the limit of live migration: one CPU baseline, the same storage and networks.
  const bounded = { ...request, cluster: source.spec.cluster };
  const refusals: string[] = [];
  for (const ranked of rank(bounded, snapshot)) {
    if (target !== undefined && ranked.host !== target) continue;
    if (ranked.host === source.id) continue;
    const reasons = ranked.fits ? furtherRefusals(input, ranked.host) : ranked.reasons;
    if (reasons.length === 0) return { host: ranked.host };
    refusals.push(`${ranked.name}: ${reasons.join(", ")}`);
  }
  if (target !== undefined) return { why: refusals[0] ?? "there is no such host" };
  return { why: refusals.length === 0 ? "there is no other host in its cluster" : `no host can take it: ${shortened(refusals)}` };
}

function furtherRefusals({ vm, source, host, connected, running }: MigrationTargetInput, hostId: string): string[] {
  const target = host(hostId);
  if (!target) return ["there is no such host"];
  const refusals: string[] = [];
  if (!connected(hostId)) refusals.push("its agent is not connected");
  const here = source.status.agent;
  const there = target.status.agent;
  if (!running || !here || !there) return refusals;
  if (here.hypervisor.type !== there.hypervisor.type) refusals.push(`it runs ${there.hypervisor.type}, the machine is on ${here.hypervisor.type}`);
  if (here.hypervisor.accelerated !== there.hypervisor.accelerated) refusals.push("only one of the two hosts has hardware virtualisation");
  const { model } = vm.spec.cpu;
  if (model === "host-passthrough" || model === "host-model") {
    const lacking = missingFlags(here, there);
    if (here.cpu.vendor !== there.cpu.vendor) refusals.push(`its CPU is of another vendor, and the machine uses the host's own (${model})`);
    else if (lacking.length > 0) refusals.push(`its CPU lacks ${shortened(lacking, 4)}, and the machine uses the host's own (${model})`);
  }
  return refusals;
}

function missingFlags(here: HostObservation, there: HostObservation): string[] {
  const flags = new Set(there.cpu.flags);
  return here.cpu.flags.filter((flag) => !flags.has(flag));
}

const shortened = (texts: readonly string[], most = 5): string =>
  texts.length <= most ? texts.join("; ") : `${texts.slice(0, most).join("; ")} and ${texts.length - most} more`;

/** Why a stopped machine cannot be given to another host; `null`: it can, it stays down, and all its disks are seen from there. */
export function stoppedMoveRefusal(
  vm: RecordOf<"vm">,
  volumes: readonly RecordOf<"volume">[],
  pool: (id: string) => RecordOf<"pool"> | undefined,
): string | null {
  if (!staysDown(vm)) return "its host may start it at any moment: try again when it runs, or stop it first";
  const local = volumes.filter((volume) => pool(volume.spec.pool)?.spec.type !== "shared").map((volume) => volume.name);
  if (local.length === 0) return null;
  return `it is stopped, and its disk${local.length === 1 ? "" : "s"} ${shortened(local)} lie${local.length === 1 ? "s" : ""} on its host alone: start it, then it moves with its disks`;
}

/**
 * Its host has said, of what is wanted now, that it does not run and will not before somebody wants something else. That it does not run
 * at this moment says nothing: its host starts by itself what has crashed, and what runs no more after a restart.
 */
function staysDown(vm: RecordOf<"vm">): boolean {
  const {
    spec,
    generation,
    placement,
    status: { agent },
  } = vm;
  if (!agent || agent.epoch !== placement?.epoch || agent.observedGeneration < generation || agent.startRequestSeen < spec.startRequest) return false;
  // It has been told not to run, as long as it is placed here.
  if (hasGivenWay(vm)) return true;
  if (spec.power === "stopped") return agent.state === "stopped" || agent.state === "crashed" || agent.state === "failed";
  // One that failed is tried again when what it lacked is there.
  if (agent.state !== "stopped" && agent.state !== "crashed") return false;
  return agent.stoppedBy === "guest" ? spec.restart.onGuestShutdown !== "restart" : agent.stoppedBy === "crash" && spec.restart.onCrash === "stay";
}
