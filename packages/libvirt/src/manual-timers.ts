/** For tests: time that stands still until it is moved. */
import type { Timer, Timers } from "./ports.ts";

export class ManualTimers implements Timers {
  #now = 0;
  #timers: { readonly at: number; readonly run: () => void }[] = [];

  monotonic(): number {
    return this.#now;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    const entry = { at: this.#now + delayMs, run };
    this.#timers.push(entry);
    return { cancel: () => void (this.#timers = this.#timers.filter((candidate) => candidate !== entry)) };
  }

  get pending(): number {
    return this.#timers.length;
  }

  /** Moves time, running what falls due in order and letting everything settle in between. */
  async advance(durationMs: number): Promise<void> {
    const end = this.#now + durationMs;
    await settled();
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).toSorted((left, right) => left.at - right.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((candidate) => candidate !== due);
      this.#now = Math.max(this.#now, due.at);
      due.run();
      await settled();
    }
    this.#now = end;
  }
}

/** Resolves when all promises that can settle without time or I/O have done so. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}
