/**
 * What one host has idle, as it is or as it would be, in an order that does not tell like GPUs apart: two hosts in the same state are
 * worth the same. One object is filled again and again: decisions allocate nothing.
 */
import type { GpuDemand, GpuHosts } from "./gpu-hosts.ts";

export class HostState {
  cpuMilli = 0;
  memoryBytes = 0;
  count = 0;
  /** By idle milli, ascending; equal ones by model. */
  idleMilli = new Int32Array(8);
  model = new Int32Array(8);
  /** Two numbers that tell states apart: 64 bits of hash. */
  hash = 0;
  check = 0;

  /** @param demand what is taken first, from the tightest GPUs; it must fit */
  read(hosts: GpuHosts, slot: number, demand?: GpuDemand): void {
    this.cpuMilli = (hosts.cpuIdleMilli[slot] ?? 0) - (demand?.cpuMilli ?? 0);
    this.memoryBytes = (hosts.memoryIdleBytes[slot] ?? 0) - (demand?.memoryBytes ?? 0);
    this.count = 0;
    const from = slot * hosts.stride;
    const gpus = hosts.gpuCount[slot] ?? 0;
    if (gpus > this.idleMilli.length) {
      this.idleMilli = new Int32Array(hosts.stride);
      this.model = new Int32Array(hosts.stride);
    }
    for (let at = from; at < from + gpus; at += 1) this.#insert(hosts.gpuIdleMilli[at] ?? 0, hosts.gpuModel[at] ?? 0);
    if (demand !== undefined) this.take(demand.gpus, demand.gpuMilli, demand.accepts);
    this.#digest();
  }

  copy(from: HostState): void {
    this.cpuMilli = from.cpuMilli;
    this.memoryBytes = from.memoryBytes;
    this.count = from.count;
    if (this.idleMilli.length < from.count) {
      this.idleMilli = new Int32Array(from.idleMilli.length);
      this.model = new Int32Array(from.idleMilli.length);
    }
    for (let at = 0; at < from.count; at += 1) {
      this.idleMilli[at] = from.idleMilli[at] ?? 0;
      this.model[at] = from.model[at] ?? 0;
    }
  }

  /** From the tightest GPUs that suffice. @returns false, and nothing is taken, where there are fewer */
  take(gpus: number, gpuMilli: number, accepts: Uint8Array | undefined): boolean {
    if (gpus === 0) return true;
    let first = 0;
    while (first < this.count && !this.#takes(first, gpuMilli, accepts)) first += 1;
    let missing = gpus - 1;
    for (let at = first + 1; missing > 0 && at < this.count; at += 1) if (this.#takes(at, gpuMilli, accepts)) missing -= 1;
    if (first >= this.count || missing > 0) return false;
    missing = gpus;
    for (let at = first; missing > 0 && at < this.count; at += 1) {
      if (!this.#takes(at, gpuMilli, accepts)) continue;
      this.#lower(at, gpuMilli);
      missing -= 1;
    }
    return true;
  }

  get totalIdleMilli(): number {
    let total = 0;
    for (let at = 0; at < this.count; at += 1) total += this.idleMilli[at] ?? 0;
    return total;
  }

  #takes(at: number, gpuMilli: number, accepts: Uint8Array | undefined): boolean {
    return (this.idleMilli[at] ?? 0) >= gpuMilli && (accepts === undefined || accepts[this.model[at] ?? 0] === 1);
  }

  /** What is behind `at` stays where it is, so that going on upwards meets every other GPU once. */
  #lower(at: number, gpuMilli: number): void {
    this.#sink((this.idleMilli[at] ?? 0) - gpuMilli, this.model[at] ?? 0, at);
  }

  #insert(idleMilli: number, model: number): void {
    this.count += 1;
    this.#sink(idleMilli, model, this.count - 1);
  }

  #sink(idleMilli: number, model: number, from: number): void {
    let at = from;
    for (; at > 0; at -= 1) {
      const lower = this.idleMilli[at - 1] ?? 0;
      if (lower < idleMilli || (lower === idleMilli && (this.model[at - 1] ?? 0) <= model)) break;
      this.idleMilli[at] = lower;
      this.model[at] = this.model[at - 1] ?? 0;
    }
    this.idleMilli[at] = idleMilli;
    this.model[at] = model;
  }

  #digest(): void {
    this.hash = 0x811c9dc5;
    this.check = 0x2545f491;
    this.#mix(this.cpuMilli);
    this.#mix(this.memoryBytes / 2 ** 32);
    this.#mix(this.memoryBytes % 2 ** 32);
    for (let at = 0; at < this.count; at += 1) {
      this.#mix(this.idleMilli[at] ?? 0);
      this.#mix(this.model[at] ?? 0);
    }
    this.hash = (this.hash ^ (this.hash >>> 15)) >>> 0;
    this.check >>>= 0;
  }

  #mix(part: number): void {
    this.hash = Math.imul(this.hash ^ part, 0x01000193);
    this.hash ^= this.hash >>> 13;
    this.check = Math.imul(this.check ^ part, 0x85ebca6b);
    this.check = (this.check << 13) | (this.check >>> 19);
  }
}
