/** Whether a host has room, after overcommit, for one machine or for several that must share a host. */
import { formatBytes } from "@sheaf/base";
import { failOverRoom } from "./fail-over-room.ts";
import { freeBytes } from "./free-bytes.ts";
import type { HostFilter } from "./host-filter.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { chargesOf, type SnapshotIndex, type VmCharge } from "./snapshot.ts";

export function capacityFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const need = requests.reduce(
    (sum, request) => ({
      cpus: sum.cpus + request.cpus,
      memory: sum.memory + (request.hugepages ? 0 : request.memoryBytes),
      huge: sum.huge + (request.hugepages ? request.memoryBytes : 0),
    }),
    { cpus: 0, memory: 0, huge: 0 },
  );
  // What the machines take on that host already is theirs to take again.
  const charges = chargesOf(requests, snapshot);
  const given = (slot: number, of: (own: VmCharge) => number): number => {
    let sum = 0;
    for (const own of charges) if (own.slots.includes(slot)) sum += of(own);
    return sum;
  };
  const freeMemory = (slot: number): number =>
    (table.memoryCapacity[slot] ?? 0) - (table.memoryUsed[slot] ?? 0) + given(slot, (own) => own.memoryBytes);
  const freeHuge = (slot: number): number => (table.hugeCapacity[slot] ?? 0) - (table.hugeUsed[slot] ?? 0) + given(slot, (own) => own.hugeBytes);
  const freeCpus = (slot: number): number => (table.cpuCapacity[slot] ?? 0) - (table.cpuUsed[slot] ?? 0) + given(slot, (own) => own.cpus);

  const filters = spaceFilters(requests, snapshot);
  if (need.huge > 0) {
    filters.push({
      code: "hugepages",
      own: false,
      one: "lacks huge pages",
      many: "lack huge pages",
      fails: (slot) => freeHuge(slot) < need.huge,
      figure: { of: freeHuge, text: freeBytes, needed: formatBytes(need.huge) },
    });
  }
  if (need.memory > 0) {
    filters.push({
      code: "memory",
      own: false,
      one: "lacks memory",
      many: "lack memory",
      fails: (slot) => freeMemory(slot) < need.memory,
      figure: { of: freeMemory, text: freeBytes, needed: formatBytes(need.memory) },
    });
  }
  filters.push(...admissionFilters(requests, snapshot));
  const vcpus = (count: number): string => `${count} ${count === 1 ? "vCPU" : "vCPUs"}`;
  filters.push({
    code: "cpu",
    own: false,
    one: "lacks CPU",
    many: "lack CPU",
    fails: (slot) => freeCpus(slot) < need.cpus,
    figure: { of: freeCpus, text: (free) => vcpus(Math.floor(free)), needed: vcpus(need.cpus) },
  });
  return filters;
}

/** Room that clusters keep for the loss of hosts, where they enforce it. */
function admissionFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const wanted = requests.reduce((sum, request) => sum + (request.admitted === false && !request.hugepages ? request.memoryBytes : 0), 0);
  if (wanted === 0) return [];
  const spare = new Map<string, number>();
  /** Of the slot's cluster. */
  const spareOf = (slot: number): number => {
    const reference = table.facts[slot]?.record.spec.cluster ?? "";
    let bytes = spare.get(reference);
    if (bytes === undefined) {
      const enforced = table.cluster(reference)?.spec.highAvailability.enforceAdmission ?? false;
      bytes = (enforced ? failOverRoom(snapshot, reference)?.spareMemoryBytes : undefined) ?? Number.POSITIVE_INFINITY;
      spare.set(reference, bytes);
    }
    return bytes;
  };
  const words = "room for the loss of hosts";
  return [
    {
      code: "admission",
      own: false,
      one: `must keep ${words}`,
      many: `must keep ${words}`,
      fails: (slot) => spareOf(slot) < wanted,
      figure: { of: (slot) => Math.max(0, spareOf(slot)), text: freeBytes, needed: formatBytes(wanted) },
    },
  ];
}

function spaceFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const { pools, table } = snapshot;
  const volumes = requests.flatMap((request) => request.volumes);
  const filters: HostFilter[] = [];
  for (const pool of new Set(volumes.map((need) => need.pool))) {
    const name = pools.pool(pool)?.name ?? pool;
    const needs = volumes.filter((need) => need.pool === pool);
    const wanted = (slot: number): number => {
      let sum = 0;
      for (const need of needs) if (pools.isNew(need.volume, pool, slot)) sum += need.sizeBytes;
      return sum;
    };
    const refusal = (slot: number): string | null => pools.refusal(pool, table.ids[slot] ?? "", slot, wanted(slot));
    filters.push(
      {
        code: `pool-full:${pool}`,
        own: false,
        one: `is nearly out of disk in pool ${name}`,
        many: `are nearly out of disk in pool ${name}`,
        fails: (slot) => refusal(slot) === "full",
      },
      {
        code: `space:${pool}`,
        own: false,
        one: `lacks space in pool ${name}`,
        many: `lack space in pool ${name}`,
        fails: (slot) => refusal(slot) === "no-space",
        figure: {
          of: (slot) => pools.free(pool, table.ids[slot] ?? "", slot),
          text: freeBytes,
          needed: formatBytes(needs.reduce((sum, need) => sum + need.sizeBytes, 0)),
        },
      },
    );
  }
  return filters;
}
