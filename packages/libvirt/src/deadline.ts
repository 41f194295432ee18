/** Ends an operation after a time or with its caller's signal, whichever is first. */
import type { Timers } from "./ports.ts";

export interface Deadline {
  readonly signal: AbortSignal;
  /** Takes timer and listener away. Must be called when the operation has ended. */
  done(): void;
}

/** The signal's reason is the caller's own when `parent` fired, else `expired()`. */
export function startDeadline(timers: Timers, timeoutMs: number, expired: () => Error, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  const timer = timers.setTimer(timeoutMs, () => controller.abort(expired()));
  const onAbort = () => controller.abort(parent?.reason);
  if (parent?.aborted === true) onAbort();
  else parent?.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    done: () => {
      timer.cancel();
      parent?.removeEventListener("abort", onAbort);
    },
  };
}

/** `work`, or a rejection with the signal's reason as soon as it fires. What `work` does afterwards is ignored. */
export function raceSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
