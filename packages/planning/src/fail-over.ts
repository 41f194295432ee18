/**
 * Which machines of a fenced host start elsewhere, and why others do not: (machine, its host's fence, the site) → a refusal or none. Where
 * each goes is the scheduler's. Called by the fail-over controller. Pure.
 */
import type { RecordOf } from "@sheaf/model";

export interface FailOverInput {
  readonly vm: RecordOf<"vm">;
  /** The store was restored, and not every host has said what it holds: this machine may be elsewhere than on record. */
  readonly heldBack: boolean;
  readonly volumes: readonly RecordOf<"volume">[];
  readonly pool: (id: string) => RecordOf<"pool"> | undefined;
}

/** It runs only where it was lost, and people want it to run: its loss is worth cutting off a host. */
export const wantsFailOver = (vm: RecordOf<"vm">): boolean =>
  vm.spec.highlyAvailable && vm.spec.power !== "stopped" && vm.deletedAt === undefined && !hasShutItselfDown(vm);

/** And nobody has asked for its start since. */
export const hasShutItselfDown = (vm: RecordOf<"vm">): boolean =>
  vm.status.agent?.state === "stopped" &&
  vm.status.agent.stoppedBy === "guest" &&
  vm.status.agent.epoch === vm.placement?.epoch &&
  vm.status.agent.startRequestSeen >= vm.spec.startRequest;

/** @returns why it cannot start on another host, whatever room there is; `null`: it can */
export function failOverRefusal({ vm, heldBack, volumes, pool }: FailOverInput): string | null {
  if (vm.status.migration !== undefined) return "its migration is being ended first";
  if (heldBack)
    return "the store was restored from a backup, and not every host has been heard since: it may run on another host than the one on record";
  if (vm.placement?.adoption !== undefined && vm.status.agent === undefined)
    return "the lost host had not taken its domain over yet: libvirtd there may still start it by itself";
  const local = volumes.filter((volume) => pool(volume.spec.pool)?.spec.type !== "shared").map((volume) => volume.name);
  if (local.length > 0)
    return `its disk${local.length === 1 ? "" : "s"} ${local.join(", ")} lie${local.length === 1 ? "s" : ""} on the lost host alone`;
  if (vm.spec.placement.host !== undefined) return "it is bound to the lost host (placement.host)";
  return null;
}
