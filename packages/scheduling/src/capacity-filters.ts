/** Whether a host has room, after overcommit, for one machine or for several that must share a host; and what their pools are on it. */
import { formatBytes } from "@sheaf/base";
import { failOverRoom } from "./fail-over-room.ts";
import { freeBytes } from "./free-bytes.ts";
import { columnFilter, freeRoom, hostFilter, type HostFilter, type Room, roomFilter } from "./host-filter.ts";
import type { PlacementRequest, VolumeNeed } from "./placement-request.ts";
import { type PoolLedger, poolStates } from "./pool-ledger.ts";
import type { ExtraPromise } from "./promise-weights.ts";
import { chargesOf, type SnapshotIndex, type VmCharge } from "./snapshot.ts";

export function capacityFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const need = { cpus: 0, memory: 0, huge: 0 };
  for (const { cpus, hugepages, memoryBytes } of requests) {
    need.cpus += cpus;
    need[hugepages ? "huge" : "memory"] += memoryBytes;
  }
  // What the machines take on a host already is theirs to take again.
  const charges = chargesOf(requests, snapshot);
  const given = (of: (own: VmCharge) => number): ReadonlyMap<number, number> => {
    const bySlot = new Map<number, number>();
    for (const own of charges) for (const slot of own.slots) bySlot.set(slot, (bySlot.get(slot) ?? 0) + of(own));
    return bySlot;
  };
  const extra = extraNeed(requests, charges, snapshot);
  const filters = poolFilters(requests, snapshot);
  const bytes = (code: string, what: string, room: Room): void => {
    if (room.needed === 0) return;
    const figure = { of: (slot: number) => freeRoom(room, slot), text: freeBytes, needed: formatBytes(room.needed) };
    filters.push(roomFilter({ code, own: false, one: `lacks ${what}`, many: `lack ${what}`, figure }, room));
  };
  const huge = { capacity: table.hugeCapacity, used: table.hugeUsed, needed: need.huge, given: given((own) => own.hugeBytes) };
  const memory = { capacity: table.memoryCapacity, used: table.memoryUsed, needed: need.memory, given: given((own) => own.memoryBytes) };
  bytes("hugepages", "huge pages", huge);
  bytes("memory", "memory", extra === undefined ? memory : { ...memory, extra: (slot) => extra(slot).bytes });
  filters.push(...admissionFilters(requests, snapshot));
  const cpu = { capacity: table.cpuCapacity, used: table.cpuUsed, needed: need.cpus, given: given((own) => own.cpus) };
  const vcpus = (count: number): string => `${count} ${count === 1 ? "vCPU" : "vCPUs"}`;
  const figure = { of: (slot: number) => freeRoom(cpu, slot), text: (free: number) => vcpus(Math.floor(free)), needed: vcpus(need.cpus) };
  const cpuRoom = extra === undefined ? cpu : { ...cpu, extra: (slot: number) => extra(slot).cpus };
  filters.push(roomFilter({ code: "cpu", own: false, one: "lacks CPU", many: "lack CPU", figure }, cpuRoom));
  return filters;
}

/** What they take on a host besides what they ask for, less what they take there so already. */
function extraNeed(
  requests: readonly PlacementRequest[],
  charges: readonly VmCharge[],
  { table: { weights } }: SnapshotIndex,
): ((slot: number) => ExtraPromise) | undefined {
  const coming = requests.flatMap(({ terms }) => terms ?? []);
  if (coming.length === 0 && charges.every(({ terms }) => terms === undefined)) return undefined;
  return (slot) => {
    const leaving = charges.flatMap(({ slots, terms }) => (terms !== undefined && slots.includes(slot) ? [terms] : []));
    const then = weights.extraOf(slot, coming, leaving);
    if (leaving.length === 0) return then;
    const now = weights.extraOf(slot, leaving, leaving);
    return { cpus: then.cpus - now.cpus, bytes: then.bytes - now.bytes };
  };
}

/** Room that clusters keep for the loss of hosts, where they enforce it. */
function admissionFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const wanted = requests.reduce((sum, request) => sum + (request.admitted === false && !request.hugepages ? request.memoryBytes : 0), 0);
  if (wanted === 0) return [];
  /** By the number of the cluster: those that enforce it. */
  const spare = new Map<number, number>();
  for (const { id, spec } of table.clusters()) {
    const room = spec.highAvailability.enforceAdmission ? failOverRoom(snapshot, id) : undefined;
    if (room !== undefined) spare.set(table.numberOf(id), room.spareMemoryBytes);
  }
  if (spare.size === 0) return [];
  const spareOf = (slot: number): number => spare.get(table.clusterNumber[slot] ?? -1) ?? Number.POSITIVE_INFINITY;
  const words = "room for the loss of hosts";
  const figure = { of: (slot: number) => Math.max(0, spareOf(slot)), text: freeBytes, needed: formatBytes(wanted) };
  return [
    hostFilter({ code: "admission", own: false, one: `must keep ${words}`, many: `must keep ${words}`, figure }, (slot) => spareOf(slot) < wanted),
  ];
}

function poolFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const { pools } = snapshot;
  const volumes = requests.flatMap((request) => request.volumes);
  const filters: HostFilter[] = [];
  for (const pool of new Set(volumes.map((need) => need.pool))) {
    const name = pools.pool(pool)?.name ?? pool;
    const columns = pools.columns(pool);
    const state = columns?.state ?? new Uint8Array(0);
    const one = (code: string, words: string, refused: number, plural = words, excused?: (slot: number) => boolean): void => {
      if (columns?.counts[refused] === 0) return;
      filters.push(columnFilter({ code: `${code}:${pool}`, own: false, one: words, many: plural }, state, refused, excused));
    };
    one("pool", `lacks pool ${name}`, poolStates.absent, `lack pool ${name}`);
    one("pool-failed", `cannot use pool ${name} now`, poolStates.failed);
    if (columns === undefined) continue;
    const { needed, given } = newBytes(
      volumes.filter((need) => need.pool === pool),
      pools,
    );
    const room: Room = { capacity: columns.limit, used: columns.promised, needed, given };
    const bringsNothing = (slot: number): boolean => needed <= (given.get(slot) ?? 0);
    one("pool-full", `is nearly out of disk in pool ${name}`, poolStates.full, `are nearly out of disk in pool ${name}`, bringsNothing);
    const figure = { of: (slot: number) => freeRoom(room, slot), text: freeBytes, needed: formatBytes(needed) };
    const words = { code: `space:${pool}`, own: false, one: `lacks space in pool ${name}`, many: `lack space in pool ${name}`, figure };
    if (needed > 0) filters.push(roomFilter(words, room));
  }
  return filters;
}

/** What the volumes of one pool would take anew, and by slot what they take there already: without limit where that is all of it. */
function newBytes(needs: readonly VolumeNeed[], pools: PoolLedger): Pick<Room, "needed"> & { readonly given: Map<number, number> } {
  const given = new Map<number, number>();
  let needed = 0;
  for (const { volume, pool, sizeBytes } of needs) {
    const slots = pools.chargedSlots(volume);
    if (slots.length > 0 && pools.pool(pool)?.spec.type === "shared") continue;
    needed += sizeBytes;
    for (const slot of slots) given.set(slot, (given.get(slot) ?? 0) + sizeBytes);
  }
  for (const [slot, bytes] of given) if (bytes === needed) given.set(slot, Number.POSITIVE_INFINITY);
  return { needed, given };
}
