/**
 * The machine's real time behind the `Clock` port. Handed out by `main.ts`; nothing else may read the real clock.
 */
import type { Clock, Timer } from "@sheaf/base";

/** Node fires timers above this at once; longer ones are set in pieces. */
const longestTimerMs = 2 ** 31 - 1;

export class SystemClock implements Clock {
  now(): number {
    return Date.now();
  }

  monotonic(): number {
    return performance.now();
  }

  setTimer(delayMs: number, run: () => void): Timer {
    let handle: NodeJS.Timeout;
    const wait = (leftMs: number): void => {
      const piece = Math.min(Math.max(0, leftMs), longestTimerMs);
      handle = setTimeout(() => (leftMs > piece ? wait(leftMs - piece) : run()), piece);
    };
    wait(delayMs);
    return { cancel: () => clearTimeout(handle) };
  }
}
