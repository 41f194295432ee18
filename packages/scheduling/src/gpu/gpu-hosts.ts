/**
 * What is idle on each host: CPU, memory, and every GPU by itself, as columns of numbers in slots. Holders put hosts in, take and give
 * back; policies read. A slot's version grows with every change, so that what was worked out for a host is worked out again only for
 * the host that changed. No rule of placement stands here but that nothing is promised twice.
 */
import type { GpuRequest } from "./gpu-request.ts";

export interface GpuHost {
  readonly id: string;
  readonly cpuIdleMilli: number;
  readonly memoryIdleBytes: number;
  readonly gpus: readonly { readonly model: string; readonly idleMilli: number }[];
}

/** A request with its models as numbers; `accepts` is missing where any model will do. */
export interface GpuDemand {
  readonly cpuMilli: number;
  readonly memoryBytes: number;
  readonly gpus: number;
  readonly gpuMilli: number;
  readonly accepts: Uint8Array | undefined;
}

export class GpuHosts {
  readonly ids: string[] = [];
  cpuIdleMilli = new Float64Array(16);
  memoryIdleBytes = new Float64Array(16);
  gpuCount = new Uint8Array(16);
  version = new Uint32Array(16);
  /** GPU `g` of slot `s` stands at `s * stride + g`, in this column and in that of models. */
  gpuIdleMilli = new Int32Array(16 * 8);
  gpuModel = new Int32Array(16 * 8);
  #stride = 8;
  readonly #slots = new Map<string, number>();
  readonly #models = new Map<string, number>();

  /** Slots ever given. A host that is gone has nothing idle and no GPU. */
  get length(): number {
    return this.ids.length;
  }

  get stride(): number {
    return this.#stride;
  }

  find(hostId: string): number | undefined {
    return this.#slots.get(hostId);
  }

  /** A new host, or all the figures of a known one. */
  put(host: GpuHost): number {
    const slot = this.#slots.get(host.id) ?? this.ids.length;
    if (slot >= this.gpuCount.length || host.gpus.length > this.#stride) this.#grow(slot, host.gpus.length);
    this.ids[slot] = host.id;
    this.#slots.set(host.id, slot);
    this.cpuIdleMilli[slot] = host.cpuIdleMilli;
    this.memoryIdleBytes[slot] = host.memoryIdleBytes;
    this.gpuCount[slot] = host.gpus.length;
    host.gpus.forEach(({ model, idleMilli }, gpu) => {
      this.gpuIdleMilli[slot * this.#stride + gpu] = idleMilli;
      this.gpuModel[slot * this.#stride + gpu] = this.#model(model);
    });
    this.#changed(slot);
    return slot;
  }

  remove(hostId: string): void {
    if (this.#slots.has(hostId)) this.put({ id: hostId, cpuIdleMilli: 0, memoryIdleBytes: 0, gpus: [] });
  }

  demand(request: GpuRequest): GpuDemand {
    const { cpuMilli, memoryBytes, gpus, gpuMilli } = request;
    let accepts: Uint8Array | undefined;
    if (request.models.length > 0) {
      // A model that no host has yet gets its number now: a host with it may come later.
      const numbers = request.models.map((model) => this.#model(model));
      accepts = new Uint8Array(Math.max(...numbers) + 1);
      for (const number of numbers) accepts[number] = 1;
    }
    return { cpuMilli, memoryBytes, gpus, gpuMilli, accepts };
  }

  fits(demand: GpuDemand, slot: number): boolean {
    if ((this.cpuIdleMilli[slot] ?? 0) < demand.cpuMilli || (this.memoryIdleBytes[slot] ?? 0) < demand.memoryBytes) return false;
    let missing = demand.gpus;
    const from = slot * this.#stride;
    for (let at = from + (this.gpuCount[slot] ?? 0) - 1; missing > 0 && at >= from; at -= 1) if (this.#takes(demand, at)) missing -= 1;
    return missing === 0;
  }

  /** The GPUs with the least idle that suffice, first ones first; fewer than wanted where the demand does not fit. */
  tightest(demand: GpuDemand, slot: number): number[] {
    const chosen: number[] = [];
    const from = slot * this.#stride;
    for (let gpu = 0; gpu < (this.gpuCount[slot] ?? 0); gpu += 1) if (this.#takes(demand, from + gpu)) chosen.push(gpu);
    const idle = (gpu: number): number => this.gpuIdleMilli[from + gpu] ?? 0;
    return chosen.sort((a, b) => idle(a) - idle(b) || a - b).slice(0, demand.gpus);
  }

  take(demand: GpuDemand, slot: number, gpus: readonly number[]): void {
    this.#charge(demand, slot, gpus, 1);
  }

  giveBack(demand: GpuDemand, slot: number, gpus: readonly number[]): void {
    this.#charge(demand, slot, gpus, -1);
  }

  #takes(demand: GpuDemand, at: number): boolean {
    return (this.gpuIdleMilli[at] ?? 0) >= demand.gpuMilli && (demand.accepts === undefined || demand.accepts[this.gpuModel[at] ?? 0] === 1);
  }

  #charge(demand: GpuDemand, slot: number, gpus: readonly number[], sign: 1 | -1): void {
    this.cpuIdleMilli[slot] = (this.cpuIdleMilli[slot] ?? 0) - sign * demand.cpuMilli;
    this.memoryIdleBytes[slot] = (this.memoryIdleBytes[slot] ?? 0) - sign * demand.memoryBytes;
    for (const gpu of gpus) {
      const at = slot * this.#stride + gpu;
      this.gpuIdleMilli[at] = (this.gpuIdleMilli[at] ?? 0) - sign * demand.gpuMilli;
    }
    this.#changed(slot);
  }

  #changed(slot: number): void {
    this.version[slot] = (this.version[slot] ?? 0) + 1;
  }

  #model(name: string): number {
    const known = this.#models.get(name);
    if (known !== undefined) return known;
    this.#models.set(name, this.#models.size);
    return this.#models.size - 1;
  }

  /** Room for this slot and for so many GPUs on a host. */
  #grow(slot: number, gpus: number): void {
    let size = this.gpuCount.length;
    while (size <= slot) size *= 2;
    let stride = this.#stride;
    while (stride < gpus) stride *= 2;
    const columns = { cpu: new Float64Array(size), memory: new Float64Array(size), count: new Uint8Array(size), version: new Uint32Array(size) };
    columns.cpu.set(this.cpuIdleMilli);
    columns.memory.set(this.memoryIdleBytes);
    columns.count.set(this.gpuCount);
    columns.version.set(this.version);
    const idle = new Int32Array(size * stride);
    const model = new Int32Array(size * stride);
    for (let host = 0; host < this.ids.length; host += 1) {
      const [from, to] = [host * this.#stride, (host + 1) * this.#stride];
      idle.set(this.gpuIdleMilli.subarray(from, to), host * stride);
      model.set(this.gpuModel.subarray(from, to), host * stride);
    }
    this.cpuIdleMilli = columns.cpu;
    this.memoryIdleBytes = columns.memory;
    this.gpuCount = columns.count;
    this.version = columns.version;
    this.gpuIdleMilli = idle;
    this.gpuModel = model;
    this.#stride = stride;
  }
}
