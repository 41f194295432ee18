/**
 * The scheduler's picture of the site: what every host offers and what is promised on it. Kept up to date from the cache's
 * changes (each O(1), but a cluster's overcommit) and changed by `reserve` as each decision is made, because the cache lags
 * behind the controller's own writes. Held by the placement controller; asked by place, rank, planBatch.
 * It reads no clock and writes no record.
 *
 * A machine is charged, whatever its power state (it may be started at any moment), to each host once that its placement, its
 * migration (source and target), its claim or a reservation names, until its record is gone. One that gave way, and has stopped, is charged
 * nowhere until it may run again; its disks stay.
 */
import {
  hasGivenWay,
  type Kind,
  type Neighbours,
  type NumaPlacement,
  type PlacedDevices,
  type RecordOf,
  type VmRecord,
  wishesForDevices,
} from "@sheaf/model";
import { wishesOf } from "./gpu/device-filters.ts";
import { DeviceLedger, idleMilliOf } from "./gpu/device-ledger.ts";
import { GpuColumns } from "./gpu/gpu-columns.ts";
import { heldDevices } from "./gpu/held-devices.ts";
import type { HostDeviceList } from "./gpu/host-device-list.ts";
import { GroupBook, type RequestRule } from "./group-book.ts";
import { GroupLedger } from "./group-ledger.ts";
import { HostTable } from "./host-table.ts";
import type { NumaCell } from "./numa-cell.ts";
import { type PlacementRequest, type Purpose, groupKey, none, placementRequest, promisedCpus, rulesOf } from "./placement-request.ts";
import { PoolLedger } from "./pool-ledger.ts";
import { type PromiseTerms, promiseTerms } from "./promise-weights.ts";
import { RequestMix } from "./request-mix.ts";
import type { SnapshotChange } from "./snapshot-change.ts";
import { StandingHosts } from "./standing-hosts.ts";

/** What a machine takes on each of its hosts. */
export interface VmCharge {
  readonly slots: readonly number[];
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly hugeBytes: number;
  /** Of `memoryBytes`: what is to start elsewhere when its host is lost. */
  readonly availableBytes: number;
  readonly together: string | undefined;
  readonly apart: string | undefined;
  readonly rules: readonly RequestRule[];
  readonly gang: string | undefined;
  readonly neighbours: Neighbours | undefined;
  readonly licences: readonly string[];
  readonly terms: PromiseTerms | undefined;
  readonly volumes: readonly string[];
  /** What it has for itself, by slot. */
  readonly devices: ReadonlyMap<number, PlacedDevices>;
  /** Its NUMA cells on each of `slots`, as far as it has any. */
  readonly numa: readonly (NumaPlacement | undefined)[];
}

interface Reservation {
  readonly host: string;
  /** Epoch of the placement when it was made: a newer one settles it. */
  readonly epoch: number;
  readonly request: PlacementRequest;
  /** Chosen on that host; none where none are wished for, or the host has not got them. */
  readonly devices: PlacedDevices;
  readonly numa: NumaPlacement | undefined;
}

export interface HostUsage {
  readonly cpuCapacity: number;
  readonly cpuUsed: number;
  readonly memoryCapacityBytes: number;
  readonly memoryUsedBytes: number;
  readonly hugepageCapacityBytes: number;
  readonly hugepageUsedBytes: number;
  readonly machines: number;
  /** GPUs that are handed out, and how much of them is idle: slices count as parts. */
  readonly gpus: number;
  readonly gpusIdle: number;
}

/** Percentages, measured outside; for policies that look at use instead of promises. */
export interface Measured {
  readonly cpuPercent?: number;
  readonly memoryPercent?: number;
  readonly powerPercent?: number;
}

export class SnapshotIndex {
  /** For place, rank and planBatch; not for callers outside the package. */
  readonly table = new HostTable();
  readonly pools = new PoolLedger(this.table);
  readonly together = new GroupLedger();
  readonly apart = new GroupLedger();
  readonly groups = new GroupBook();
  /** By gang: its machines that have hosts. */
  readonly gangs = new Map<string, number>();
  /** By `noisy` and `sensitive`, and by the licence's name. */
  readonly neighbours = new GroupLedger();
  readonly licences = new GroupLedger();
  readonly networks = new Map<string, { readonly record: RecordOf<"network">; readonly hosts: ReadonlySet<string> | null }>();
  /** Which sizes of machines there are, and how many of each: what is likely to be asked for next. */
  readonly mix = new RequestMix();
  readonly devices = new DeviceLedger();
  /** The same GPUs as the GPU policy sees them. */
  readonly gpus = new GpuColumns(this.table, this.devices);
  /** Kept from decision to decision. */
  readonly standing = new StandingHosts(this);
  readonly #vms = new Map<string, VmRecord>();
  readonly #charges = new Map<string, VmCharge>();
  readonly #reservations = new Map<string, Reservation>();
  readonly #preemptible = new Set<string>();

  update(change: SnapshotChange): void {
    if (change.type === "remove") return this.#remove(change.kind, change.id);
    const record = change.record;
    switch (record.kind) {
      case "host":
        this.table.upsert(record);
        return this.devices.put(this.table.slotOf(record.id), record.spec, record.status.agent);
      case "cluster":
        return this.table.upsertCluster(record);
      case "pool":
        return this.pools.upsertPool(record);
      case "volume":
        return this.pools.upsertVolume(record);
      case "network": {
        const before = this.networks.get(record.id);
        const hosts = before?.record.spec === record.spec ? before.hosts : record.spec.hosts === undefined ? null : new Set(record.spec.hosts);
        this.networks.set(record.id, { record, hosts });
        return;
      }
      case "vm":
        return this.#upsertVm(record);
      case "image":
      case "task":
      case "project":
      case "user":
      case "role":
      case "token":
        return;
    }
  }

  /** What `vm` asks for, its volumes and pools looked up. */
  request(vm: VmRecord, purpose: Purpose = "place"): PlacementRequest {
    return placementRequest(vm, { volume: (id) => this.pools.volumes.get(id), pool: (id) => this.pools.pool(id) }, purpose);
  }

  /**
   * Charges the machine to `hostId` from now on: the decision was made, its record is not here yet. It ends by itself when a
   * newer placement (or a migration to that host) arrives, or by `release` when the transaction failed. One a machine.
   * @param devices as decided; absent: what the host has for its wishes now
   * @returns the NUMA cells that it has there: to be kept in its placement
   */
  reserve(request: PlacementRequest, hostId: string, devices?: PlacedDevices): NumaPlacement | undefined {
    const epoch = this.#vms.get(request.vm)?.placement?.epoch ?? 0;
    const numa = this.cellsOn(request, this.table.slotOf(hostId)) ?? undefined;
    this.#reservations.set(request.vm, { host: hostId, epoch, request, devices: devices ?? this.#devicesFor(request, hostId), numa });
    this.#recharge(request.vm);
    return numa;
  }

  /** The cells it would have on that host. @returns `undefined`: it floats there; `null`: there is no room as it asks for it */
  cellsOn({ vm, cells }: PlacementRequest, slot: number): NumaPlacement | null | undefined {
    if (cells === undefined) return undefined;
    return this.withoutCells(vm, slot, () => this.table.numa.choose(slot, cells));
  }

  /** What `look` says of a host's cells while those that the machine has there already are not booked. */
  withoutCells<T>(vm: string, slot: number, look: () => T): T {
    const own = this.#charges.get(vm);
    const place = own?.slots.indexOf(slot) ?? -1;
    return this.table.numa.without(slot, place === -1 ? undefined : own?.numa[place], look);
  }

  #devicesFor(request: PlacementRequest, hostId: string): PlacedDevices {
    if (!wishesForDevices(request)) return {};
    const own = new Set(chargesOf([request], this));
    return this.devices.choose(this.table.slotOf(hostId), [wishesOf(request)], own)?.[0] ?? {};
  }

  /** Takes this request's own reservation back: one that another decision has made for the machine since stays, and what the records say too. */
  release(request: PlacementRequest): void {
    if (this.#reservations.get(request.vm)?.request !== request) return;
    this.#reservations.delete(request.vm);
    this.#recharge(request.vm);
  }

  reservedHost(vmId: string): string | undefined {
    return this.#reservations.get(vmId)?.host;
  }

  /** For the placement record that follows from a reservation. */
  reservedDevices(vmId: string): PlacedDevices {
    return this.#reservations.get(vmId)?.devices ?? {};
  }

  /** @returns `undefined` for a host without a record. */
  usage(hostId: string): HostUsage | undefined {
    const slot = this.table.find(hostId);
    if (slot === undefined || this.table.facts[slot] === undefined) return undefined;
    const at = (figures: Float64Array): number => figures[slot] ?? 0;
    return {
      cpuCapacity: at(this.table.cpuCapacity),
      cpuUsed: at(this.table.cpuUsed),
      memoryCapacityBytes: at(this.table.memoryCapacity),
      memoryUsedBytes: at(this.table.memoryUsed),
      hugepageCapacityBytes: at(this.table.hugeCapacity),
      hugepageUsedBytes: at(this.table.hugeUsed),
      machines: at(this.table.machines),
      gpus: at(this.devices.gpus),
      gpusIdle: at(this.devices.idleGpus),
    };
  }

  /** What of its devices the host hands out, and thousandths of each GPU that are idle. */
  devicesOf(hostId: string): HostDeviceList & { readonly idleMilli: ReadonlyMap<string, number> } {
    const slot = this.table.find(hostId);
    const list = (slot === undefined ? undefined : this.devices.list(slot)) ?? { gpus: [], pci: [] };
    const taken = this.devices.taken(slot ?? -1);
    return { ...list, idleMilli: new Map(list.gpus.map((unit) => [unit.address, unit.refusal === undefined ? idleMilliOf(unit, taken) : 0])) };
  }

  /** Remembers measured figures of a host, in percent of what it has; absent ones are forgotten. */
  measure(hostId: string, figures: Measured): void {
    const slot = this.table.slotOf(hostId);
    this.table.cpuPercent[slot] = figures.cpuPercent ?? Number.NaN;
    this.table.memoryPercent[slot] = figures.memoryPercent ?? Number.NaN;
    this.table.powerPercent[slot] = figures.powerPercent ?? Number.NaN;
  }

  /** Machines that may give way, with what they take. */
  *preemptible(): Generator<readonly [VmRecord, VmCharge]> {
    for (const id of this.#preemptible) {
      const [vm, charge] = [this.#vms.get(id), this.#charges.get(id)];
      if (vm !== undefined && charge !== undefined) yield [vm, charge];
    }
  }

  /** Answers `ask` as if what these machines take were free. What is kept from decision to decision must not be asked meanwhile. */
  without<T>(vmIds: readonly string[], ask: () => T): T {
    const charges = vmIds.flatMap((id) => this.#charges.get(id) ?? []);
    for (const charge of charges) this.#count(charge, -1);
    try {
      return ask();
    } finally {
      for (const charge of charges) this.#count(charge, 1);
    }
  }

  /** The NUMA cells of a host, with what is booked in them. Not to be changed. */
  cells(hostId: string): readonly NumaCell[] {
    const slot = this.table.find(hostId);
    return slot === undefined ? [] : this.table.numa.cells(slot);
  }

  /** What a machine has of that host's cells; absent: it floats there, or is not there. */
  cellsHeld(vmId: string, hostId: string): NumaPlacement["cells"] | undefined {
    const charge = this.#charges.get(vmId);
    return charge?.numa[charge.slots.indexOf(this.table.find(hostId) ?? -1)]?.cells;
  }

  /** What the machine takes, on whichever hosts. */
  charge(vmId: string): VmCharge | undefined {
    return this.#charges.get(vmId);
  }

  /** What no record says: decisions that are under way, and measured figures. For a copy of another one, made of the same records. */
  takeOver(other: SnapshotIndex): void {
    for (const { request, host, devices } of other.#reservations.values()) this.reserve(request, host, devices);
    const { ids, cpuPercent, memoryPercent, powerPercent } = other.table;
    const figure = (figures: Float64Array, slot: number): number | undefined => {
      const value = figures[slot] ?? Number.NaN;
      return Number.isNaN(value) ? undefined : value;
    };
    for (const [slot, id] of ids.entries()) {
      const [cpu, memory, power] = [figure(cpuPercent, slot), figure(memoryPercent, slot), figure(powerPercent, slot)];
      this.measure(id, {
        ...(cpu === undefined ? {} : { cpuPercent: cpu }),
        ...(memory === undefined ? {} : { memoryPercent: memory }),
        ...(power === undefined ? {} : { powerPercent: power }),
      });
    }
  }

  #remove(kind: Kind, id: string): void {
    if (kind === "host") {
      this.table.remove(id);
      this.devices.remove(this.table.slotOf(id));
    } else if (kind === "cluster") this.table.removeCluster(id);
    else if (kind === "pool") this.pools.removePool(id);
    else if (kind === "volume") this.pools.removeVolume(id);
    else if (kind === "network") this.networks.delete(id);
    else if (kind === "vm") {
      this.#vms.delete(id);
      this.#preemptible.delete(id);
      this.#reservations.delete(id);
      this.#recharge(id);
    }
  }

  #upsertVm(vm: VmRecord): void {
    const { gpus, cpu, memory } = vm.spec;
    if (gpus !== undefined && !this.#vms.has(vm.id)) this.gpus.learn({ cpus: cpu.count, memoryBytes: memory.bytes, gpus });
    this.#vms.set(vm.id, vm);
    if (vm.spec.placement.preemptible === true) this.#preemptible.add(vm.id);
    else this.#preemptible.delete(vm.id);
    const reservation = this.#reservations.get(vm.id);
    if (reservation !== undefined) {
      const settled = (vm.placement?.epoch ?? 0) > reservation.epoch || vm.status.migration?.target === reservation.host;
      if (settled || vm.deletedAt !== undefined) this.#reservations.delete(vm.id);
    }
    this.#recharge(vm.id);
  }

  #recharge(id: string): void {
    const before = this.#charges.get(id);
    if (before !== undefined) {
      this.#apply(before, -1);
      this.mix.remove(before.cpus, before.memoryBytes + before.hugeBytes);
    }
    if (before?.gang !== undefined) this.gangs.set(before.gang, (this.gangs.get(before.gang) ?? 0) - 1);
    const charge = this.#chargeOf(id);
    if (charge?.gang !== undefined) this.gangs.set(charge.gang, (this.gangs.get(charge.gang) ?? 0) + 1);
    if (before?.gang !== undefined && this.gangs.get(before.gang) === 0) this.gangs.delete(before.gang);
    if (charge === undefined) this.#charges.delete(id);
    else {
      this.#charges.set(id, charge);
      this.#apply(charge, 1);
      this.mix.add(charge.cpus, charge.memoryBytes + charge.hugeBytes);
    }
    this.#wantVolumes(before, charge);
  }

  #chargeOf(id: string): VmCharge | undefined {
    const vm = this.#vms.get(id);
    const reservation = this.#reservations.get(id);
    const slots: number[] = [];
    // Most machines have none: theirs is one and the same.
    let numa: readonly (NumaPlacement | undefined)[] = noCells;
    const on = (host: string, its: NumaPlacement | undefined): void => {
      const slot = this.table.slotOf(host);
      if (slots.includes(slot)) return;
      if (its !== undefined) numa = [...slots.map((_, place) => numa[place]), its];
      slots.push(slot);
    };
    // What is decided and not on record yet goes before what the record says of the same host.
    if (reservation !== undefined) on(reservation.host, reservation.numa);
    // Its devices are its own also while it gives way: it comes back to them, and with them stays what it needs beside them.
    if (vm?.placement !== undefined && (!hasGivenWay(vm) || wishesForDevices(vm.spec))) on(vm.placement.host, vm.placement.numa);
    const migration = vm?.status.migration;
    if (migration !== undefined) {
      on(migration.source, migration.sourceNuma);
      on(migration.target, migration.targetNuma);
    }
    // Its cells are chosen when it is placed there.
    const claim = vm?.status.claim;
    if (claim !== undefined) on(claim.host, undefined);
    if (slots.length === 0) return undefined;
    const devices = heldDevices(vm?.placement, reservation, (host) => this.table.slotOf(host));
    if (vm === undefined) return reservation === undefined ? undefined : chargeOfRequest(reservation, slots, devices);
    const { cpu, memory, placement, disks } = vm.spec;
    return {
      slots,
      numa,
      cpus: promisedCpus(cpu),
      memoryBytes: memory.hugepages ? 0 : memory.bytes,
      hugeBytes: memory.hugepages ? memory.bytes : 0,
      availableBytes: vm.spec.highlyAvailable && !memory.hugepages ? memory.bytes : 0,
      together: placement.together === undefined ? undefined : groupKey(vm, placement.together),
      apart: placement.apart === undefined ? undefined : groupKey(vm, placement.apart),
      rules: rulesOf(vm),
      gang: placement.gang === undefined ? undefined : groupKey(vm, placement.gang.name),
      neighbours: placement.neighbours,
      licences: placement.licences ?? none,
      terms: promiseTerms(vm.spec),
      volumes: disks.flatMap((disk) => (disk.volume === undefined ? [] : [disk.volume])),
      devices,
    };
  }

  #apply(charge: VmCharge, sign: 1 | -1): void {
    this.#count(charge, sign);
    for (const slot of charge.slots) this.table.figuresLog.add(slot);
  }

  #count(charge: VmCharge, sign: 1 | -1): void {
    const { cpuUsed, memoryUsed, hugeUsed, availableMemory, machines } = this.table;
    let place = 0;
    for (const slot of charge.slots) {
      const numa = charge.numa[place++];
      if (numa !== undefined) this.table.bookCells(slot, numa, sign);
      cpuUsed[slot] = (cpuUsed[slot] ?? 0) + sign * charge.cpus;
      memoryUsed[slot] = (memoryUsed[slot] ?? 0) + sign * charge.memoryBytes;
      hugeUsed[slot] = (hugeUsed[slot] ?? 0) + sign * charge.hugeBytes;
      availableMemory[slot] = (availableMemory[slot] ?? 0) + sign * charge.availableBytes;
      machines[slot] = (machines[slot] ?? 0) + sign;
      if (charge.together !== undefined) this.together.add(charge.together, slot, sign);
      if (charge.apart !== undefined) this.apart.add(charge.apart, slot, sign);
      if (charge.rules.length > 0) this.groups.change(charge.rules, slot, sign);
      if (charge.neighbours !== undefined) this.neighbours.add(charge.neighbours, slot, sign);
      for (const licence of charge.licences) this.licences.add(licence, slot, sign);
      if (charge.terms !== undefined) this.table.addExtra(slot, this.table.weights.change(slot, charge.terms, sign));
    }
    for (const [slot, devices] of charge.devices) {
      if (sign === 1) this.devices.book(slot, charge, devices);
      else this.devices.release(slot, charge);
    }
  }

  #wantVolumes(before: VmCharge | undefined, now: VmCharge | undefined): void {
    const kept = new Set(now?.volumes);
    const left = (before?.volumes ?? []).filter((id) => !kept.has(id));
    if (left.length > 0) this.pools.want(left, []);
    if (now !== undefined) this.pools.want(now.volumes, now.slots);
  }
}

const noCells: readonly undefined[] = [];

function chargeOfRequest({ request, numa }: Reservation, slots: readonly number[], devices: VmCharge["devices"]): VmCharge {
  return {
    slots,
    numa: numa === undefined ? noCells : slots.map(() => numa),
    cpus: request.cpus,
    memoryBytes: request.hugepages ? 0 : request.memoryBytes,
    hugeBytes: request.hugepages ? request.memoryBytes : 0,
    // Its record says it, as soon as it is there.
    availableBytes: 0,
    together: request.together,
    apart: request.apart,
    rules: request.rules,
    gang: request.gang?.name,
    neighbours: request.neighbours,
    licences: request.licences,
    terms: request.terms,
    volumes: request.volumes.map((need) => need.volume),
    devices,
  };
}

/** A snapshot of these records; order does not matter. */
export function buildSnapshot(records: Iterable<Extract<SnapshotChange, { type: "upsert" }>["record"]>): SnapshotIndex {
  const snapshot = new SnapshotIndex();
  for (const record of records) snapshot.update({ type: "upsert", record });
  return snapshot;
}

/** What these machines take already, on whichever hosts: there they do not compete with themselves. */
export const chargesOf = (requests: readonly PlacementRequest[], snapshot: SnapshotIndex): VmCharge[] =>
  requests.flatMap(({ vm }) => snapshot.charge(vm) ?? []);
