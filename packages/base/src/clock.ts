/**
 * Time as a port. Only adapters touch the real clock; everything else is handed one of these, so that a
 * simulated data centre can run years in minutes.
 */
export interface Clock {
  /** Wall clock, ms since the Unix epoch. May jump. */
  now(): number;
  /** Monotonic time in ms from an arbitrary start. Never jumps; use it for durations and deadlines. */
  monotonic(): number;
  /** Calls `run` once after `delayMs`. */
  setTimer(delayMs: number, run: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** Resolves after `delayMs`; rejects with the signal's reason when `signal` aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** An abort signal that fires after `delayMs`, or earlier with `parent`. Call `done` when the work has ended, so that the timer goes. */
export function deadline(clock: Clock, delayMs: number, reason: () => Error, parent?: AbortSignal): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const timer = clock.setTimer(delayMs, () => controller.abort(reason()));
  const onAbort = () => controller.abort(parent?.reason);
  if (parent?.aborted) onAbort();
  else parent?.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    done: () => {
      timer.cancel();
      parent?.removeEventListener("abort", onAbort);
    },
  };
}
