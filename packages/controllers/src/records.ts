/** Look-ups in the cache that several controllers make. */
import type { RecordOf } from "@sheaf/model";
import type { RecordCache } from "./context.ts";

/** A machine's volumes that have a record, in the order of its disks. */
export function volumesOf(vm: RecordOf<"vm">, cache: RecordCache): RecordOf<"volume">[] {
  return vm.spec.disks.flatMap((disk) => {
    const volume = disk.volume === undefined ? undefined : cache.get("volume", disk.volume);
    return volume ? [volume] : [];
  });
}

/** A host's cluster, which its spec names by id or by name. */
export const clusterOf = (host: RecordOf<"host">, cache: RecordCache): RecordOf<"cluster"> | undefined =>
  cache.get("cluster", host.spec.cluster) ?? cache.byName("cluster", "-", host.spec.cluster);

export const hostName = (hostId: string, cache: RecordCache): string => cache.get("host", hostId)?.name ?? hostId;
