/**
 * What has been promised in storage pools: virtual sizes of volumes, by pool and host. A volume is charged where its record
 * places it and where its machine is charged (reserved, or migrating), once a host. Used by SnapshotIndex alone.
 */
import type { PoolOnHost, RecordOf } from "@sheaf/model";
import type { HostTable } from "./host-table.ts";

interface VolumeCharge {
  readonly pool: string;
  readonly bytes: number;
  readonly slots: readonly number[];
}

/** What a pool is on a host: not there, not usable, usable with too little physically free for anything new, ready. */
export const poolStates = { absent: 0, failed: 1, full: 2, ready: 3 } as const;

/** By slot. */
export interface PoolColumns {
  readonly state: Uint8Array;
  /** How many slots are in each state. */
  readonly counts: readonly number[];
  /** Bytes that may be promised. */
  readonly limit: Float64Array;
  readonly promised: Float64Array;
}

interface PoolEntry {
  record: RecordOf<"pool"> | undefined;
  /** What follows from its record; absent until somebody asks. */
  seen: SeenPool | undefined;
  promised: Float64Array;
  /** `total` for every slot: a shared pool's. */
  everywhere: Float64Array;
  /** Every placed volume once, however many hosts see it. */
  total: number;
}

export class PoolLedger {
  readonly volumes = new Map<string, RecordOf<"volume">>();
  readonly #pools = new Map<string, PoolEntry>();
  readonly #charges = new Map<string, VolumeCharge>();
  /** Slots of the machine that has the volume. */
  readonly #wanted = new Map<string, readonly number[]>();
  readonly #table: HostTable;

  constructor(table: HostTable) {
    this.#table = table;
  }

  upsertPool(record: RecordOf<"pool">): void {
    this.#entry(record.id).record = record;
  }

  removePool(id: string): void {
    const entry = this.#pools.get(id);
    if (entry !== undefined) entry.record = undefined;
  }

  pool(id: string): RecordOf<"pool"> | undefined {
    return this.#pools.get(id)?.record;
  }

  upsertVolume(record: RecordOf<"volume">): void {
    this.volumes.set(record.id, record);
    this.#recharge(record.id);
  }

  removeVolume(id: string): void {
    this.volumes.delete(id);
    this.#uncharge(id);
  }

  /** The machine of these volumes is charged to `slots` (none: to no host). */
  want(volumeIds: readonly string[], slots: readonly number[]): void {
    for (const id of volumeIds) {
      if (slots.length === 0) this.#wanted.delete(id);
      else this.#wanted.set(id, slots);
      this.#recharge(id);
    }
  }

  /** Slots on which the volume takes its room already; a shared pool holds it once for all hosts. */
  chargedSlots(volumeId: string): readonly number[] {
    return this.#charges.get(volumeId)?.slots ?? [];
  }

  /** Bytes that may still be promised in `poolId` on that host; negative when it is over its limit. */
  free(poolId: string, slot: number): number {
    const columns = this.columns(poolId);
    return columns === undefined ? 0 : (columns.limit[slot] ?? 0) - (columns.promised[slot] ?? 0);
  }

  /** O(hosts) once after the pool's record changed, which any host's report does. @returns `undefined` where there is no such pool */
  columns(poolId: string): PoolColumns | undefined {
    const entry = this.#pools.get(poolId);
    if (entry?.record === undefined) return undefined;
    const { length } = this.#table;
    if (entry.seen?.fits(entry.record, length) !== true) entry.seen = new SeenPool(entry.record, length);
    entry.seen.update(entry.record, this.#table);
    // So that a decision's columns stay the ones that its reservations are counted in.
    if (entry.promised.length < length) entry.promised = grown(entry.promised, length - 1);
    const { state, counts, limit } = entry.seen;
    return { state, counts, limit, promised: entry.record.spec.type === "shared" ? everywhere(entry, length) : entry.promised };
  }

  #recharge(id: string): void {
    this.#uncharge(id);
    const record = this.volumes.get(id);
    if (record === undefined) return;
    const slots = new Set(this.#wanted.get(id));
    if (record.placement !== undefined) slots.add(this.#table.slotOf(record.placement.host));
    if (slots.size === 0) return;
    const charge = { pool: record.spec.pool, bytes: record.spec.sizeBytes, slots: [...slots] };
    this.#charges.set(id, charge);
    this.#apply(charge, 1);
  }

  #uncharge(id: string): void {
    const charge = this.#charges.get(id);
    if (charge === undefined) return;
    this.#charges.delete(id);
    this.#apply(charge, -1);
  }

  #apply(charge: VolumeCharge, sign: 1 | -1): void {
    const pool = this.#entry(charge.pool);
    pool.total += sign * charge.bytes;
    for (const slot of charge.slots) {
      if (slot >= pool.promised.length) pool.promised = grown(pool.promised, slot);
      pool.promised[slot] = (pool.promised[slot] ?? 0) + sign * charge.bytes;
    }
  }

  #entry(id: string): PoolEntry {
    let entry = this.#pools.get(id);
    if (entry === undefined)
      this.#pools.set(id, (entry = { record: undefined, seen: undefined, promised: new Float64Array(0), everywhere: new Float64Array(0), total: 0 }));
    return entry;
  }
}

function everywhere(entry: PoolEntry, length: number): Float64Array {
  if (entry.everywhere.length !== length) entry.everywhere = new Float64Array(length).fill(entry.total);
  else if (entry.everywhere[0] !== entry.total) entry.everywhere.fill(entry.total);
  return entry.everywhere;
}

function grown(old: Float64Array, slot: number): Float64Array {
  const larger = new Float64Array(Math.max(16, 2 ** Math.ceil(Math.log2(slot + 1))));
  larger.set(old);
  return larger;
}

/** A pool's record as columns. Most reports change one host: what is there as it was is not looked at again. */
class SeenPool {
  readonly state: Uint8Array;
  readonly counts: number[];
  readonly limit: Float64Array;
  readonly #spec: RecordOf<"pool">["spec"];
  readonly #named: ReadonlySet<string> | null;
  readonly #hostIds: string[] = [];
  readonly #reports: PoolOnHost[] = [];
  #record: RecordOf<"pool"> | undefined;

  constructor({ spec }: RecordOf<"pool">, length: number) {
    this.state = new Uint8Array(length);
    this.counts = [length, 0, 0, 0];
    this.limit = new Float64Array(length);
    this.#spec = spec;
    this.#named = spec.hosts === undefined ? null : new Set(spec.hosts);
  }

  /** Whether `update` will do: the spec is the same, and so are the hosts that have a slot. */
  fits({ spec }: RecordOf<"pool">, length: number): boolean {
    return spec === this.#spec && length === this.state.length;
  }

  update(record: RecordOf<"pool">, table: HostTable): void {
    if (record === this.#record) return;
    this.#record = record;
    const hosts = record.status.hosts ?? {};
    let place = 0;
    // By `in`, which makes no array of ten thousand.
    for (const hostId in hosts) {
      const here = hosts[hostId];
      if (here !== undefined && (this.#hostIds[place] !== hostId || this.#reports[place] !== here)) {
        // One that left, or another order: those that follow are told again, and none keeps what it had.
        if (this.#hostIds[place] !== hostId) this.#forgetFrom(place, table);
        this.#hostIds[place] = hostId;
        this.#reports[place] = here;
        this.#tell(table.find(hostId), hostId, here);
      }
      place += 1;
    }
    this.#forgetFrom(place, table);
  }

  #tell(slot: number | undefined, hostId: string, here: PoolOnHost): void {
    if (slot === undefined || (this.#named !== null && !this.#named.has(hostId))) return;
    const isFull = here.availableBytes < this.#spec.minimumFreeRatio * here.capacityBytes;
    this.#set(slot, here.state !== "ready" ? poolStates.failed : isFull ? poolStates.full : poolStates.ready);
    this.limit[slot] = Math.floor(here.capacityBytes * this.#spec.overcommit);
  }

  #forgetFrom(place: number, table: HostTable): void {
    for (const hostId of this.#hostIds.splice(place)) {
      const slot = table.find(hostId);
      if (slot !== undefined) this.#set(slot, poolStates.absent);
    }
    this.#reports.splice(place);
  }

  #set(slot: number, state: number): void {
    const before = this.state[slot] ?? 0;
    this.counts[before] = (this.counts[before] ?? 0) - 1;
    this.counts[state] = (this.counts[state] ?? 0) + 1;
    this.state[slot] = state;
  }
}
