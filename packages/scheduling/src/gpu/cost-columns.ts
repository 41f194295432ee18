/**
 * What each class of requests costs on each host, kept until the host changes: one column a class, as long as there are hosts. The
 * classes asked for longest ago are forgotten, so that memory stays bounded however many kinds of requests come.
 */
import type { GpuDemand, GpuHosts } from "./gpu-hosts.ts";
import { type GpuRequest, gpuRequestKey } from "./gpu-request.ts";

/** 12 bytes a host and class: 15 MB with 10,000 hosts. */
const columnLimit = 128;

interface Column {
  readonly demand: GpuDemand;
  cost: Float64Array;
  /** Of the host when the cost was worked out; 0: never. */
  version: Uint32Array;
}

export class CostColumns {
  readonly #hosts: GpuHosts;
  readonly #work: (demand: GpuDemand, slot: number) => number;
  readonly #columns = new Map<string, Column>();

  constructor(hosts: GpuHosts, work: (demand: GpuDemand, slot: number) => number) {
    this.#hosts = hosts;
    this.#work = work;
  }

  /** The demand of a class, and its cost by slot. */
  of(request: GpuRequest): { readonly demand: GpuDemand; readonly cost: (slot: number) => number } {
    const key = gpuRequestKey(request);
    const column = this.#columns.get(key) ?? this.#begin(request);
    this.#columns.delete(key);
    this.#columns.set(key, column);
    const { length } = this.#hosts;
    if (column.cost.length < length) {
      // Twice as many: hosts come one after the other.
      const [cost, version] = [new Float64Array(length * 2), new Uint32Array(length * 2)];
      cost.set(column.cost);
      version.set(column.version);
      column.cost = cost;
      column.version = version;
    }
    return { demand: column.demand, cost: (slot) => this.#cost(column, slot) };
  }

  /** Everything is worked out anew: for when costs have another basis. */
  clear(): void {
    this.#columns.clear();
  }

  #cost(column: Column, slot: number): number {
    const version = this.#hosts.version[slot] ?? 0;
    if (column.version[slot] !== version) {
      column.version[slot] = version;
      column.cost[slot] = this.#work(column.demand, slot);
    }
    return column.cost[slot] ?? Number.POSITIVE_INFINITY;
  }

  #begin(request: GpuRequest): Column {
    if (this.#columns.size >= columnLimit) for (const [oldest] of this.#columns.entries().take(1)) this.#columns.delete(oldest);
    const { length } = this.#hosts;
    return { demand: this.#hosts.demand(request), cost: new Float64Array(length), version: new Uint32Array(length) };
  }
}
