/** Real time that a test can move on: what waits for an hour is due at once. For tests alone. */
import type { Clock, Timer } from "@sheaf/base";

interface Waiting {
  readonly dueAt: number;
  readonly fire: () => void;
}

export class TestClock implements Clock {
  #ahead = 0;
  readonly #waiting = new Set<Waiting>();

  now(): number {
    return Math.floor(Date.now() + this.#ahead);
  }

  monotonic(): number {
    return performance.now() + this.#ahead;
  }

  setTimer(delayMs: number, run: () => void): Timer {
    const fire = (): void => {
      clearTimeout(handle);
      if (this.#waiting.delete(waiting)) run();
    };
    const waiting: Waiting = { dueAt: this.monotonic() + delayMs, fire };
    const handle = setTimeout(fire, Math.min(delayMs, 2 ** 31 - 1));
    handle.unref();
    this.#waiting.add(waiting);
    return {
      cancel: () => {
        clearTimeout(handle);
        this.#waiting.delete(waiting);
      },
    };
  }

  advance(ms: number): void {
    this.#ahead += ms;
    const now = this.monotonic();
    for (const { fire } of [...this.#waiting].filter(({ dueAt }) => dueAt <= now).sort((left, right) => left.dueAt - right.dueAt)) fire();
  }
}
