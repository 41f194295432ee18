/** What still refers to a record that is being deleted, as a sentence. Called by the deletion controller; walks the cache only for kinds that are rarely deleted. */
import { projectKinds, type AnyRecord } from "@sheaf/model";
import type { RecordCache } from "./context.ts";
import { clusterOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";

/** @returns `null`: nothing does */
export function referredBy(record: AnyRecord, cache: RecordCache, index: SiteIndex): string | null {
  switch (record.kind) {
    case "volume": {
      const vm = cache.get("vm", index.vmOfVolume.get(record.id) ?? "");
      return vm && vm.deletedAt === undefined ? `it is a disk of machine ${vm.name}` : null;
    }
    case "image": {
      let uses = 0;
      for (const volume of cache.all("volume")) {
        const { source } = volume.spec;
        // A full copy needs its image only until it is made.
        if (source && "image" in source && source.image === record.id && (source.clone === "linked" || volume.status.agent?.state !== "ready"))
          uses += 1;
      }
      for (const vm of cache.all("vm")) if (vm.spec.cdroms.some((drive) => drive.image === record.id)) uses += 1;
      return told(uses, "disk or drive uses it", "disks or drives use it");
    }
    case "network":
      return count(
        cache.all("vm"),
        (vm) => vm.spec.nics.some((nic) => nic.network === record.id),
        "machine is connected to it",
        "machines are connected to it",
      );
    case "pool":
      return count(cache.all("volume"), (volume) => volume.spec.pool === record.id, "volume lies in it", "volumes lie in it");
    case "host": {
      const machines = told(index.vmsOnHost(record.id).size, "machine is placed on it", "machines are placed on it");
      return machines ?? count(cache.all("volume"), (volume) => volume.placement?.host === record.id, "volume lies on it", "volumes lie on it");
    }
    case "cluster":
      return count(cache.all("host"), (host) => clusterOf(host, cache)?.id === record.id, "host belongs to it", "hosts belong to it");
    case "project": {
      let uses = 0;
      for (const kind of projectKinds) if (kind !== "task") for (const other of cache.all(kind)) if (other.project === record.id) uses += 1;
      return told(uses, "record belongs to it", "records belong to it");
    }
    case "vm":
    case "user":
    case "role":
    case "token":
    case "task":
      return null;
  }
}

function count<T>(records: Iterable<T>, refers: (record: T) => boolean, one: string, many: string): string | null {
  let uses = 0;
  for (const record of records) if (refers(record)) uses += 1;
  return told(uses, one, many);
}
const told = (uses: number, one: string, many: string): string | null => (uses === 0 ? null : `${uses} ${uses === 1 ? one : many}`);
