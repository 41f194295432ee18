/** Waiting for a condition with a deadline; the lab has no fixed sleeps. */
import { setTimeout as pause } from "node:timers/promises";
import { LabError } from "./lab-error.ts";

export interface WaitOptions {
  /** Milliseconds until a LabError is thrown; default 30,000. */
  readonly timeoutMs?: number;
  /** Milliseconds between two looks; default 50. */
  readonly intervalMs?: number;
  /** Ends the sentence "... did not happen within N ms"; a function is asked at the deadline. */
  readonly what: string | (() => string | Promise<string>);
}

/** Looks again and again until `condition` returns something other than false, null or undefined, and returns that. */
export async function waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<NonNullable<Exclude<T, false>>> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    // The three values that mean "not yet" are ruled out here, which is what the return type says.
    if (value !== false && value !== null && value !== undefined) return value as NonNullable<Exclude<T, false>>;
    if (performance.now() >= deadline) {
      const what = typeof options.what === "string" ? options.what : await options.what();
      throw new LabError(`${what} did not happen within ${timeoutMs} ms`);
    }
    await pause(options.intervalMs ?? 50);
  }
}
