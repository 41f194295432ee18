/**
 * How a record that is being deleted goes: (record, what refers to it) → wait (and for what), mark others, or remove it with everything that
 * is taken in its name. Called by the deletion controller. Pure; keys are model/keys', the transaction is the controller's.
 */
import { addressKey, fileKey, macKey, nameKey, numberKey, recordPrefix, type AnyRecord, type RecordOf } from "@sheaf/model";

export interface DeletionInput {
  readonly record: AnyRecord;
  /** Volumes that exist of a machine's disks. */
  readonly volumes: readonly RecordOf<"volume">[];
  /** Whether the host that the record is placed on still has a record. A removed host answers no more: its things are given up. */
  readonly hostExists: boolean;
  /** A sentence naming what still refers to it (`3 volumes lie in it`); `null`: nothing. */
  readonly referredBy: string | null;
}

export type DeletionPlan =
  | { readonly step: "wait"; readonly for: string }
  /** Set `deletedAt` on these, then wait for them. */
  | { readonly step: "mark"; readonly volumes: readonly RecordOf<"volume">[] }
  | { readonly step: "remove"; readonly prefix: string; readonly keys: readonly string[] };

/** Finalisers that this story itself sees to; one it does not know belongs to another controller, which removes it when it has done its part. */
const ownFinalizers = new Set(["domain", "volumes", "file", "hosts"]);

export function planDeletion(input: DeletionInput): DeletionPlan {
  const { record } = input;
  if (record.deletedAt === undefined) return { step: "wait", for: "nobody asked for its deletion" };
  const foreign = record.finalizers.filter((name) => !ownFinalizers.has(name));
  if (foreign.length > 0) return { step: "wait", for: `${foreign.join(", ")} to be released` };
  switch (record.kind) {
    case "vm":
      return planVm(input, record);
    case "volume":
      if (input.referredBy !== null) return { step: "wait", for: input.referredBy };
      if (record.placement !== undefined && input.hostExists && record.status.agent?.state !== "gone")
        return { step: "wait", for: "its host to remove the file" };
      return remove(record);
    case "image":
    case "network":
    case "pool":
    case "project":
    case "cluster":
    case "host":
      return input.referredBy === null ? remove(record) : { step: "wait", for: input.referredBy };
    case "user":
    case "role":
    case "token":
    case "task":
      return remove(record);
  }
}

function planVm({ volumes, hostExists }: DeletionInput, vm: RecordOf<"vm"> & { readonly kind: "vm" }): DeletionPlan {
  const { placement, status, spec } = vm;
  if (status.migration !== undefined) return { step: "wait", for: "its migration to end" };
  if (placement !== undefined && hostExists) {
    const seen = status.agent;
    if (seen?.state !== "gone" || seen.epoch < placement.epoch) return { step: "wait", for: "its host to remove it" };
  }
  const going = new Set(spec.disks.filter((disk) => disk.deleteWithVm).map((disk) => disk.volume));
  const own = volumes.filter((volume) => going.has(volume.id) && !volume.spec.protected);
  const unmarked = own.filter((volume) => volume.deletedAt === undefined);
  if (unmarked.length > 0) return { step: "mark", volumes: unmarked };
  if (own.length > 0) return { step: "wait", for: `${own.length} of its disks to be removed` };
  return remove(vm);
}

function remove(record: AnyRecord): DeletionPlan {
  const keys = record.kind === "task" ? [] : [nameKey(record.kind, record.project ?? "-", record.name)];
  if ((record.kind === "vm" || record.kind === "image") && record.number !== undefined) keys.push(numberKey(record.kind, record.number));
  if (record.kind === "volume" && record.spec.file !== undefined) keys.push(fileKey(record.spec.pool, record.spec.file));
  if (record.kind === "vm")
    for (const nic of record.spec.nics) {
      if (nic.mac !== undefined) keys.push(macKey(nic.mac));
      for (const address of nic.addresses ?? []) keys.push(addressKey(nic.network, address));
    }
  return { step: "remove", prefix: recordPrefix(record.kind, record.id), keys: [...new Set(keys)] };
}
