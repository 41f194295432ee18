/**
 * What has been promised in storage pools: virtual sizes of volumes, by pool and host. A volume is charged where its record
 * places it and where its machine is charged (reserved, or migrating), once a host. Used by SnapshotIndex alone.
 */
import type { RecordOf } from "@sheaf/model";
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
  /** Bytes that may be promised. */
  readonly limit: Float64Array;
  readonly promised: Float64Array;
}

interface PoolEntry {
  record: RecordOf<"pool"> | undefined;
  /** Of `record`, as far as they follow from it; `null`: not looked at since it changed. */
  columns: Pick<PoolColumns, "state" | "limit"> | null;
  promised: Float64Array;
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
    const entry = this.#entry(record.id);
    entry.record = record;
    entry.columns = null;
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

  /** O(hosts) once after the pool's record changed, which any host's report does; a shared pool's: always. @returns `undefined` where there is no such pool */
  columns(poolId: string): PoolColumns | undefined {
    const entry = this.#pools.get(poolId);
    if (entry?.record === undefined) return undefined;
    const { length } = this.#table;
    // A host may have reported its pool before its own record was known.
    if (entry.columns?.state.length !== length) entry.columns = columnsOf(entry.record, this.#table);
    // So that a decision's columns stay the ones that its reservations are counted in.
    if (entry.promised.length < length) entry.promised = grown(entry.promised, length - 1);
    const shared = entry.record.spec.type === "shared";
    return { ...entry.columns, promised: shared ? new Float64Array(length).fill(entry.total) : entry.promised };
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
    if (entry === undefined) this.#pools.set(id, (entry = { record: undefined, columns: null, promised: new Float64Array(0), total: 0 }));
    return entry;
  }
}

function grown(old: Float64Array, slot: number): Float64Array {
  const larger = new Float64Array(Math.max(16, 2 ** Math.ceil(Math.log2(slot + 1))));
  larger.set(old);
  return larger;
}

function columnsOf(pool: RecordOf<"pool">, table: HostTable): Pick<PoolColumns, "state" | "limit"> {
  const state = new Uint8Array(table.length);
  const limit = new Float64Array(table.length);
  const named = pool.spec.hosts === undefined ? null : new Set(pool.spec.hosts);
  for (const [hostId, here] of Object.entries(pool.status.hosts ?? {})) {
    const slot = table.find(hostId);
    if (slot === undefined || (named !== null && !named.has(hostId))) continue;
    const isFull = here.availableBytes < pool.spec.minimumFreeRatio * here.capacityBytes;
    state[slot] = here.state !== "ready" ? poolStates.failed : isFull ? poolStates.full : poolStates.ready;
    limit[slot] = Math.floor(here.capacityBytes * pool.spec.overcommit);
  }
  return { state, limit };
}
