/**
 * Which devices machines have, or were promised, on every host; by slots of the host table. Held by SnapshotIndex, which books and releases
 * what each machine is charged with as records and reservations change, O(1) each. A machine without a word about its devices
 * (`placement.gpus`) holds none here.
 */
import type { HostObservation, HostSpec, PlacedDevices } from "@sheaf/model";
import { chooseDevices, TakenDevices, type Wishes } from "./choose-devices.ts";
import { type HostDeviceList, hostDeviceList } from "./host-device-list.ts";

/** Who holds devices: one object for all that a machine is charged with. */
export type DeviceHolder = object;

interface Slot {
  readonly list: HostDeviceList;
  /** Equal for hosts with the same kinds of GPUs; 0: none. */
  readonly gpuShape: number;
  /** What the list was made of. */
  readonly seen: HostObservation | undefined;
  readonly said: HostSpec["passthrough"] | undefined;
}

export class DeviceLedger {
  readonly #slots: (Slot | undefined)[] = [];
  readonly #held = new Map<number, Map<DeviceHolder, PlacedDevices>>();
  readonly #shapes = new Map<string, number>();
  readonly #gpuSlots = new Set<number>();
  readonly #pciSlots = new Set<number>();
  /** GPUs handed out, by slot, and how many of them are idle: shares count as shares. Read by scores, host by host. */
  gpus = new Float64Array(16);
  idleGpus = new Float64Array(16);
  /** By slot: see `Slot`. */
  gpuShape = new Int32Array(16);
  /** Slots whose hosts have GPUs, whether handed out or not. */
  get gpuSlots(): ReadonlySet<number> {
    return this.#gpuSlots;
  }

  get pciSlots(): ReadonlySet<number> {
    return this.#pciSlots;
  }

  /** How many kinds of hosts with GPUs there have been. */
  get shapes(): number {
    return this.#shapes.size;
  }

  list(slot: number): HostDeviceList | undefined {
    return this.#slots[slot]?.list;
  }

  put(slot: number, spec: HostSpec, seen: HostObservation | undefined): void {
    const before = this.#slots[slot];
    if (before !== undefined && before.seen === seen && before.said === spec.passthrough) return;
    const list = hostDeviceList(spec, seen);
    if (list === undefined) return this.remove(slot);
    const gpuShape = list.gpus.length === 0 ? 0 : this.#shapeOf(list);
    this.#slots[slot] = { list, gpuShape, seen, said: spec.passthrough };
    if (list.gpus.length > 0) this.#gpuSlots.add(slot);
    else this.#gpuSlots.delete(slot);
    if (list.pci.length > 0) this.#pciSlots.add(slot);
    else this.#pciSlots.delete(slot);
    this.#count(slot);
  }

  /** What is held there stays held: the same host may come back. */
  remove(slot: number): void {
    if (this.#slots[slot] === undefined) return;
    this.#slots[slot] = undefined;
    this.#gpuSlots.delete(slot);
    this.#pciSlots.delete(slot);
    this.#count(slot);
  }

  book(slot: number, holder: DeviceHolder, devices: PlacedDevices): void {
    let held = this.#held.get(slot);
    if (held === undefined) this.#held.set(slot, (held = new Map()));
    held.set(holder, devices);
    this.#count(slot);
  }

  release(slot: number, holder: DeviceHolder): void {
    const held = this.#held.get(slot);
    if (held?.delete(holder) !== true) return;
    if (held.size === 0) this.#held.delete(slot);
    this.#count(slot);
  }

  taken(slot: number, without: ReadonlySet<DeviceHolder> = none): TakenDevices {
    const taken = new TakenDevices();
    for (const [holder, devices] of this.#held.get(slot) ?? []) if (!without.has(holder)) taken.add(devices);
    return taken;
  }

  /**
   * Devices for each of these, together.
   * @param without holders whose devices count as free
   * @returns `undefined` where the host cannot give them all
   */
  choose(slot: number, wishes: readonly Wishes[], without: ReadonlySet<DeviceHolder> = none): PlacedDevices[] | undefined {
    const list = this.list(slot) ?? nothing;
    const taken = this.taken(slot, without);
    const chosen: PlacedDevices[] = [];
    for (const wish of wishes) {
      const devices = chooseDevices(list, taken, wish);
      if (devices === undefined) return undefined;
      taken.add(devices);
      chosen.push(devices);
    }
    return chosen;
  }

  #shapeOf(list: HostDeviceList): number {
    const key = [...new Set(list.gpus.map(({ kind, refusal }) => `${kind}${refusal ?? ""}`))].toSorted().join();
    let shape = this.#shapes.get(key);
    if (shape === undefined) {
      this.#shapes.set(key, (shape = this.#shapes.size + 1));
    }
    return shape;
  }

  #count(slot: number): void {
    if (slot >= this.gpus.length) this.#grow(slot);
    const entry = this.#slots[slot];
    this.gpuShape[slot] = entry?.gpuShape ?? 0;
    let gpus = 0;
    let idle = 0;
    if ((entry?.gpuShape ?? 0) !== 0) {
      const taken = this.taken(slot);
      for (const unit of entry?.list.gpus ?? []) {
        if (unit.refusal !== undefined) continue;
        gpus += 1;
        idle += idleMilliOf(unit, taken) / 1000;
      }
    }
    this.gpus[slot] = gpus;
    this.idleGpus[slot] = idle;
  }

  #grow(slot: number): void {
    let size = this.gpus.length;
    while (size <= slot) size *= 2;
    const larger = (old: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const grown = new Float64Array(size);
      grown.set(old);
      return grown;
    };
    const shapes = new Int32Array(size);
    shapes.set(this.gpuShape);
    this.gpus = larger(this.gpus);
    this.idleGpus = larger(this.idleGpus);
    this.gpuShape = shapes;
  }
}

/** Of what it can be handed out in: as it is divided now, or the whole of it. */
export function idleMilliOf(unit: HostDeviceList["gpus"][number], taken: TakenDevices): number {
  if (taken.isFree(unit)) return 1000;
  const type = taken.typeOn(unit.address);
  const slices = type === undefined ? undefined : unit.slices.find((one) => one.type === type);
  return slices === undefined ? 0 : Math.min(1000, taken.left(unit.address, slices) * slices.milli);
}

const none: ReadonlySet<DeviceHolder> = new Set();
const nothing: HostDeviceList = { gpus: [], pci: [] };
