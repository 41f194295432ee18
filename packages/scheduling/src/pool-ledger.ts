/**
 * What has been promised in storage pools: virtual sizes of volumes, by pool and host. A volume is charged where its record
 * places it and where its machine is charged (reserved, or migrating), once a host. Used by SnapshotIndex alone.
 */
import type { RecordOf } from "@sheaf/model";

interface VolumeCharge {
  readonly pool: string;
  readonly bytes: number;
  readonly slots: readonly number[];
}

interface PoolEntry {
  readonly record: RecordOf<"pool"> | undefined;
  /** Hosts that the spec names; `null`: all. */
  readonly hosts: ReadonlySet<string> | null;
  readonly bySlot: Map<number, number>;
  /** Every placed volume once, however many hosts see it. */
  total: number;
}

export type PoolRefusal = "absent" | "failed" | "full" | "no-space";

export class PoolLedger {
  readonly volumes = new Map<string, RecordOf<"volume">>();
  readonly #pools = new Map<string, PoolEntry>();
  readonly #charges = new Map<string, VolumeCharge>();
  /** Slots of the machine that has the volume. */
  readonly #wanted = new Map<string, readonly number[]>();

  upsertPool(record: RecordOf<"pool">): void {
    const before = this.#pools.get(record.id);
    const sameHosts = before?.record !== undefined && before.record.spec === record.spec;
    this.#pools.set(record.id, {
      record,
      hosts: sameHosts ? before.hosts : record.spec.hosts === undefined ? null : new Set(record.spec.hosts),
      bySlot: before?.bySlot ?? new Map(),
      total: before?.total ?? 0,
    });
  }

  removePool(id: string): void {
    const before = this.#pools.get(id);
    if (before !== undefined) this.#pools.set(id, { ...before, record: undefined, hosts: null });
  }

  pool(id: string): RecordOf<"pool"> | undefined {
    return this.#pools.get(id)?.record;
  }

  /** `slotOf` gives the slot of the host that the record places it on. */
  upsertVolume(record: RecordOf<"volume">, slotOf: (hostId: string) => number): void {
    this.volumes.set(record.id, record);
    this.#recharge(record.id, slotOf);
  }

  removeVolume(id: string): void {
    this.volumes.delete(id);
    this.#uncharge(id);
  }

  /** The machine of these volumes is charged to `slots` (none: to no host). */
  want(volumeIds: readonly string[], slots: readonly number[], slotOf: (hostId: string) => number): void {
    for (const id of volumeIds) {
      if (slots.length === 0) this.#wanted.delete(id);
      else this.#wanted.set(id, slots);
      this.#recharge(id, slotOf);
    }
  }

  /** Whether the volume would take room there that is not charged yet. A shared pool holds it once for all hosts. */
  isNew(volumeId: string, poolId: string, slot: number): boolean {
    const charge = this.#charges.get(volumeId);
    if (charge === undefined) return true;
    return this.pool(poolId)?.spec.type === "shared" ? false : !charge.slots.includes(slot);
  }

  /** Bytes that may still be promised in `poolId` on that host; negative when it is over its limit. */
  free(poolId: string, hostId: string, slot: number): number {
    const pool = this.#pools.get(poolId);
    const here = pool?.record?.status.hosts?.[hostId];
    if (pool?.record === undefined || here === undefined) return 0;
    const promised = pool.record.spec.type === "shared" ? pool.total : (pool.bySlot.get(slot) ?? 0);
    return Math.floor(here.capacityBytes * pool.record.spec.overcommit) - promised;
  }

  /**
   * @param newBytes virtual bytes that would be added there
   * @returns `null` where the pool can take them
   */
  refusal(poolId: string, hostId: string, slot: number, newBytes: number): PoolRefusal | null {
    const pool = this.#pools.get(poolId);
    if (pool?.record === undefined || (pool.hosts !== null && !pool.hosts.has(hostId))) return "absent";
    const here = pool.record.status.hosts?.[hostId];
    if (here === undefined) return "absent";
    if (here.state !== "ready") return "failed";
    if (newBytes === 0) return null;
    if (here.availableBytes < pool.record.spec.minimumFreeRatio * here.capacityBytes) return "full";
    return this.free(poolId, hostId, slot) < newBytes ? "no-space" : null;
  }

  #recharge(id: string, slotOf: (hostId: string) => number): void {
    this.#uncharge(id);
    const record = this.volumes.get(id);
    if (record === undefined) return;
    const slots = new Set(this.#wanted.get(id));
    if (record.placement !== undefined) slots.add(slotOf(record.placement.host));
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
    let pool = this.#pools.get(charge.pool);
    if (pool === undefined) {
      pool = { record: undefined, hosts: null, bySlot: new Map(), total: 0 };
      this.#pools.set(charge.pool, pool);
    }
    pool.total += sign * charge.bytes;
    for (const slot of charge.slots) {
      const bytes = (pool.bySlot.get(slot) ?? 0) + sign * charge.bytes;
      if (bytes === 0) pool.bySlot.delete(slot);
      else pool.bySlot.set(slot, bytes);
    }
  }
}
