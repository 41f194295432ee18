/** What hosts use in the mean of the last minutes, together with the machines that are placed there now: what scheduler and charts are told. Changes nothing. */
import type { RecordOf } from "@sheaf/model";
import type { Use, UseBook } from "@sheaf/planning";
import type { RecordCache } from "./context.ts";

export interface HostUse extends Use {
  readonly host: RecordOf<"host">;
  /** Of what the host offers; may pass 1. */
  readonly cpuShare: number;
  readonly memoryShare: number;
}

/** Hosts whose use is not known are left out. O(hosts + machines). @param now monotonic, ms */
export function hostUses(cache: Pick<RecordCache, "all">, book: UseBook, now: number): HostUse[] {
  const sums = new Map<string, { readonly host: RecordOf<"host">; cpus: number; memoryBytes: number }>();
  for (const host of cache.all("host")) {
    const own = book.host(host.id, now);
    if (own && host.deletedAt === undefined) sums.set(host.id, { host, cpus: own.cpus, memoryBytes: own.memoryBytes });
  }
  for (const { id, placement } of cache.all("vm")) {
    const sum = placement && sums.get(placement.host);
    const use = sum && book.machine(id, now);
    if (!sum || !use) continue;
    sum.cpus += use.cpus;
    sum.memoryBytes += use.memoryBytes;
  }
  return [...sums.values()].map(({ host, cpus, memoryBytes }) => {
    const offers = offered(host);
    return { host, cpus, memoryBytes, cpuShare: share(cpus, offers.cpus), memoryShare: share(memoryBytes, offers.memoryBytes) };
  });
}

/** What a host offers of itself. */
export const offered = ({ spec, status }: RecordOf<"host">): Use => ({
  cpus: spec.offeredCpus ?? status.agent?.cpu.count ?? 0,
  memoryBytes: spec.offeredMemoryBytes ?? status.agent?.memoryBytes ?? 0,
});

const share = (used: number, of: number): number => (of > 0 ? used / of : 0);
