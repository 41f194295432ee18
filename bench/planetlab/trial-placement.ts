/** Who would be where: a host as the baselines shift machines about before they decide. Called by power-aware-policy.ts. */
import { wattsAt } from "@sheaf/planning";
import type { HostModel } from "./fleet.ts";

export interface Load {
  readonly machine: number;
  /** What the machine asks for now, MIPS. */
  readonly mips: number;
  readonly ramMb: number;
  /** What it asked for lately, oldest first, MIPS. */
  readonly history: Float64Array;
}

export class TrialHost {
  readonly index: number;
  readonly model: HostModel;
  readonly loads = new Set<Load>();
  /** Before anything was shifted: CloudSim compares power with this, however many machines the trial has brought since. */
  readonly loadBefore: number;
  readonly #wattsBefore: number;
  /** What its machines ask for, as far as one core can give it; MIPS. */
  #capped = 0;
  /** What its machines ask for, MIPS. */
  asked = 0;
  /** What its machines asked for together lately, oldest first, MIPS. */
  readonly history: Float64Array;

  constructor(index: number, model: HostModel, historyLength: number, residents: readonly Load[]) {
    this.index = index;
    this.model = model;
    this.history = new Float64Array(historyLength);
    for (const load of residents) this.add(load);
    this.loadBefore = this.usedMips / model.mips;
    this.#wattsBefore = wattsAt(model.curve, this.loadBefore);
  }

  add(load: Load): void {
    this.loads.add(load);
    this.#count(load, 1);
  }

  remove(load: Load): void {
    this.loads.delete(load);
    this.#count(load, -1);
    if (this.loads.size > 0) return;
    // What rounding has left over.
    this.#capped = 0;
    this.asked = 0;
    this.history.fill(0);
  }

  /** @param sign 1 or -1 */
  #count({ mips, history }: Load, sign: number): void {
    this.#capped += sign * Math.min(mips, this.model.coreMips);
    this.asked += sign * mips;
    for (let index = 0; index < this.history.length; index += 1) this.history[index] = (this.history[index] ?? 0) + sign * (history[index] ?? 0);
  }

  get usedMips(): number {
    return Math.min(this.#capped, this.model.mips);
  }

  canTake({ mips }: Load): boolean {
    return this.model.coreMips >= mips && this.model.mips - this.usedMips >= mips;
  }

  /** Watts more than before anything was shifted, with this machine on top. */
  wattsMore({ mips }: Load): number {
    return wattsAt(this.model.curve, (this.usedMips + mips) / this.model.mips) - this.#wattsBefore;
  }
}
