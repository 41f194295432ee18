/** The clock of one simulated process: its host's wall clock may be off, jump and drift; its timers are its own and end with it. */
import type { Clock, Timer } from "@sheaf/base";
import type { Life } from "./life.ts";

/** How a host's clocks differ from true time. Shared by all processes of the host. */
export interface ClockError {
  /** Ms that the wall clock is ahead. */
  offsetMs: number;
  /** Seconds of this host in one true second. */
  rate: number;
}

export const rightClock = (): ClockError => ({ offsetMs: 0, rate: 1 });

/** What it runs is let go when it has run or was cancelled. */
class ProcessTimer implements Timer {
  #run: (() => void) | null;
  readonly #timer: Timer;

  constructor(base: Clock, delayMs: number, life: Life, run: () => void) {
    this.#run = run;
    this.#timer = base.setTimer(delayMs, () => life.run(() => this.#fire()));
  }

  cancel(): void {
    this.#run = null;
    this.#timer.cancel();
  }

  #fire(): void {
    const run = this.#run;
    this.#run = null;
    run?.();
  }
}

export function processClock(base: Clock, error: ClockError, life: Life): Clock {
  let since = { base: base.monotonic(), own: base.monotonic(), rate: error.rate };
  const elapsed = (): number => {
    const now = base.monotonic();
    const own = since.own + (now - since.base) * since.rate;
    if (since.rate !== error.rate) since = { base: now, own, rate: error.rate };
    return own;
  };
  return {
    now: () => Math.floor(base.now() + error.offsetMs),
    monotonic: elapsed,
    setTimer: (delayMs: number, run: () => void): Timer => {
      if (!life.alive) return { cancel: () => {} };
      // In whole ms: what thousands of processes do at about the same time is done together.
      return new ProcessTimer(base, Math.ceil(Math.max(0, delayMs) / error.rate), life, run);
    },
  };
}
