/**
 * The GPUs of the snapshot as the GPU policy sees them: columns (`GpuHosts`) of the hosts that have some, brought up to date host by host when
 * a decision asks, and the policy with what it has learnt of requests. A GPU's "model" here is its kind: what it can be handed out in now, so
 * that a share is never expected from a GPU that cannot be divided, nor one size of slices from a GPU that is divided in another.
 */
import type { HostGpuSlices, VmGpus } from "@sheaf/model";
import type { HostTable } from "../host-table.ts";
import { type DeviceHolder, type DeviceLedger, idleMilliOf } from "./device-ledger.ts";
import { Fragmentation } from "./fragmentation.ts";
import { GpuHosts } from "./gpu-hosts.ts";
import type { GpuChoice } from "./gpu-policy.ts";
import { type GpuRequest, wholeGpuMilli } from "./gpu-request.ts";
import { type GpuUnit, servesInSomeWay, servesSlice } from "./host-device-list.ts";
import type { TakenDevices } from "./choose-devices.ts";
import { RequestMix } from "./request-mix.ts";

/** A request for GPUs, in the words of its machine. */
export interface GpuAsk {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly gpus: VmGpus;
}

interface Kind {
  /** Short: it stands in many keys. */
  readonly name: string;
  readonly unit: GpuUnit;
  /** The GPU is divided so; absent: nothing of it is taken. */
  readonly slices: HostGpuSlices | undefined;
}

/** What a machine has on a host of its own, and does not compete with. */
export interface OwnUse {
  readonly holders: ReadonlySet<DeviceHolder>;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** Shapes of requests remembered for when the policy has to be made anew. */
const shapesKept = 1024;

export class GpuColumns {
  readonly #table: HostTable;
  readonly #ledger: DeviceLedger;
  #hosts = new GpuHosts();
  #policy: Fragmentation | undefined;
  readonly #kinds = new Map<string, Kind>();
  readonly #asked = new Map<string, { readonly ask: GpuAsk; times: number }>();
  /** Slots in `#hosts` by slots of the table; -1: none. */
  #slots = new Int32Array(16).fill(-1);
  #position = -1;
  #shapes = -1;

  constructor(table: HostTable, ledger: DeviceLedger) {
    this.#table = table;
    this.#ledger = ledger;
  }

  /** A request has arrived, placed or not. */
  learn(ask: GpuAsk): void {
    const key = JSON.stringify([ask.cpus, ask.memoryBytes, ask.gpus]);
    const known = this.#asked.get(key);
    if (known === undefined) this.#asked.set(key, { ask, times: 1 });
    else known.times += 1;
    if (this.#asked.size > shapesKept) for (const [oldest] of this.#asked.entries().take(1)) this.#asked.delete(oldest);
    const request = this.#request(ask);
    if (request.models.length > 0) this.#policy?.learn(request);
  }

  /** What the policy says of the request, by slot of the table; `slot` is always a host that has what is asked for. */
  choice(ask: GpuAsk): (slot: number, own?: OwnUse) => number {
    this.update();
    this.#policy ??= this.#newPolicy();
    const choice = this.#policy.choice(this.#request(ask));
    return (slot, own) => (own === undefined ? this.#cost(choice, slot) : this.#costWithout(choice, slot, own));
  }

  /** Whether the GPUs of a host suffice as far as they are free. Of `slot`s of the table. */
  fits(gpus: VmGpus): (slot: number) => boolean {
    this.update();
    const { models, gpus: count, gpuMilli } = this.#request({ cpus: 0, memoryBytes: 0, gpus });
    // No GPU that there is would do; to the columns none named means any.
    if (models.length === 0) return () => false;
    // CPU and memory have filters of their own.
    const demand = this.#hosts.demand({ cpuMilli: -Infinity, memoryBytes: -Infinity, gpus: count, gpuMilli, models });
    return (slot) => {
      const at = this.#slots[slot] ?? -1;
      return at !== -1 && this.#hosts.fits(demand, at);
    };
  }

  #request({ cpus, memoryBytes, gpus }: GpuAsk): GpuRequest {
    const models: string[] = [];
    for (const { name, unit, slices } of this.#kinds.values()) {
      const serves = slices === undefined ? servesInSomeWay(unit, gpus) : servesSlice(unit, slices, gpus);
      if (serves) models.push(name);
    }
    return { cpuMilli: cpus * 1000, memoryBytes, gpus: gpus.count, gpuMilli: gpus.shareMilli ?? wholeGpuMilli, models };
  }

  #cost(choice: GpuChoice, slot: number): number {
    const at = this.#slots[slot] ?? -1;
    return at === -1 ? 0 : choice.cost(at);
  }

  /** As if it were not there yet. */
  #costWithout(choice: GpuChoice, slot: number, own: OwnUse): number {
    this.#put(slot, own);
    const cost = this.#cost(choice, slot);
    this.#put(slot);
    return cost;
  }

  /** Costs are of hosts as they are, so the hosts that changed come first: by itself when something is asked for, and for what was asked for before. O(changed hosts). */
  update(): void {
    const { figuresLog } = this.#table;
    if (this.#shapes !== this.#ledger.shapes) {
      this.#shapes = this.#ledger.shapes;
      this.#learnKinds();
    }
    if (this.#position === figuresLog.position) return;
    const known = this.#position !== -1 && figuresLog.since(this.#position, (slot) => this.#put(slot));
    this.#position = figuresLog.position;
    if (!known) for (const slot of this.#ledger.gpuSlots) this.#put(slot);
  }

  /**
   * GPUs of a kind that was not there before: who accepts which is worked out anew, and so is what the policy expects. Kinds have their numbers
   * by what they are, not by when they came: equal sites decide equally.
   */
  #learnKinds(): void {
    const kinds = new Map<string, Omit<Kind, "name">>();
    for (const { unit, slices } of this.#kinds.values())
      kinds.set(slices === undefined ? unit.kind : dividedKind(unit, slices.type), { unit, slices });
    for (const slot of this.#ledger.gpuSlots) {
      for (const unit of this.#ledger.list(slot)?.gpus ?? []) {
        if (unit.refusal !== undefined) continue;
        kinds.set(unit.kind, { unit, slices: undefined });
        for (const slices of unit.slices) kinds.set(dividedKind(unit, slices.type), { unit, slices });
      }
    }
    if (kinds.size === this.#kinds.size) return;
    this.#kinds.clear();
    for (const key of [...kinds.keys()].toSorted()) {
      const kind = kinds.get(key);
      if (kind !== undefined) this.#kinds.set(key, { name: String(this.#kinds.size), ...kind });
    }
    this.#hosts = new GpuHosts();
    for (const { name } of this.#kinds.values()) this.#hosts.demand({ cpuMilli: 0, memoryBytes: 0, gpus: 1, gpuMilli: 1, models: [name] });
    this.#slots.fill(-1);
    this.#position = -1;
    this.#policy = undefined;
  }

  #newPolicy(): Fragmentation {
    const mix = new RequestMix();
    for (const { ask, times } of this.#asked.values()) {
      const request = this.#request(ask);
      if (request.models.length > 0) mix.learn(request, times);
    }
    return new Fragmentation(this.#hosts, mix);
  }

  #put(slot: number, own?: OwnUse): void {
    const list = this.#ledger.list(slot);
    const id = this.#table.ids[slot] ?? "";
    if (list === undefined || list.gpus.length === 0) {
      this.#hosts.remove(id);
      return;
    }
    const taken = this.#ledger.taken(slot, own?.holders);
    const gpus = list.gpus.filter(({ refusal }) => refusal === undefined).map((unit) => this.#stateOf(unit, taken));
    const { cpuCapacity, cpuUsed, memoryCapacity, memoryUsed, hugeCapacity, hugeUsed } = this.#table;
    const of = (column: Float64Array): number => column[slot] ?? 0;
    const memory = of(memoryCapacity) - of(memoryUsed) + of(hugeCapacity) - of(hugeUsed) + (own?.memoryBytes ?? 0);
    const cpus = of(cpuCapacity) - of(cpuUsed) + (own?.cpus ?? 0);
    if (slot >= this.#slots.length) this.#grow(slot);
    this.#slots[slot] = this.#hosts.put({ id, cpuIdleMilli: 1000 * cpus, memoryIdleBytes: memory, gpus });
  }

  #stateOf(unit: GpuUnit, taken: TakenDevices): { model: string; idleMilli: number } {
    const type = taken.typeOn(unit.address);
    const kind = type === undefined ? unit.kind : dividedKind(unit, type);
    return { model: this.#kinds.get(kind)?.name ?? "", idleMilli: idleMilliOf(unit, taken) };
  }

  #grow(slot: number): void {
    let size = this.#slots.length;
    while (size <= slot) size *= 2;
    const grown = new Int32Array(size).fill(-1);
    grown.set(this.#slots);
    this.#slots = grown;
  }
}

const dividedKind = (unit: GpuUnit, type: string): string => `${unit.kind}@${type}`;
