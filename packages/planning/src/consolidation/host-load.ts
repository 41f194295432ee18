/**
 * A host while the planner shifts machines about: who is on it, and how much of it they are expected to need together. Spread is that of the
 * sum, sample by sample: machines that rise together need more room than those that take turns, and many need less each than few.
 */
import type { ConsolidationHost, ConsolidationMachine } from "./consolidation-input.ts";
import type { Forecast } from "./forecast.ts";
import { wattsAt } from "./power-curve.ts";

export interface PlannedMachine {
  readonly machine: ConsolidationMachine;
  readonly forecast: Forecast;
}

export class HostLoad {
  readonly host: ConsolidationHost;
  readonly machines = new Set<PlannedMachine>();
  #memoryBytes = 0;
  #level = 0;
  #now = 0;
  #unseenVariance = 0;
  #unknown = 0;
  readonly #window: Float64Array;

  constructor(host: ConsolidationHost, windowSamples: number) {
    this.host = host;
    this.#window = new Float64Array(windowSamples);
  }

  add(planned: PlannedMachine): void {
    this.machines.add(planned);
    this.#count(planned, 1);
  }

  remove(planned: PlannedMachine): void {
    this.machines.delete(planned);
    this.#count(planned, -1);
  }

  #count({ machine, forecast }: PlannedMachine, sign: 1 | -1): void {
    this.#memoryBytes += sign * machine.memoryBytes;
    this.#level += sign * forecast.level;
    this.#now += sign * forecast.now;
    if (machine.demand.length === 0) this.#unknown += sign;
    this.#unseenVariance += sign * forecast.unseenVariance;
    for (let sample = 0; sample < this.#window.length; sample += 1)
      this.#window[sample] = (this.#window[sample] ?? 0) + sign * (forecast.window[sample] ?? 0);
  }

  /** Expected, millicores. */
  get level(): number {
    return this.#level;
  }

  /** What is asked for at this moment, millicores. */
  get now(): number {
    return this.#now;
  }

  /** Something is known of each of its machines. */
  get known(): boolean {
    return this.#unknown === 0;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** Expected to be drawn, with so many millicores more than its machines'. */
  watts(more = 0): number {
    return wattsAt(this.host.powerCurve, (this.#level + more) / this.host.cpuMillicores);
  }

  /** The expected level and so many σ, millicores; @param extra counted as if it were on it */
  need(sigmas: number, extra?: Forecast): number {
    const level = this.#level + (extra?.level ?? 0);
    if (sigmas === 0) return level;
    const count = this.#window.length;
    let sum = 0;
    let squares = 0;
    for (let sample = 0; sample < count; sample += 1) {
      const value = (this.#window[sample] ?? 0) + (extra?.window[sample] ?? 0);
      sum += value;
      squares += value * value;
    }
    // Differences of large sums may come out a trifle below 0.
    const variance = Math.max(0, squares / count - (sum / count) ** 2) + Math.max(0, this.#unseenVariance + (extra?.unseenVariance ?? 0));
    return level + sigmas * Math.sqrt(variance);
  }
}
