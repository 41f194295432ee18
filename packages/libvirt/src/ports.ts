/** What this library wants from its surroundings. Small on purpose: any clock or logger with these methods will do. */

/** Time. Only durations are measured, so a simulated clock works as well as the real one (`nodeTimers` in transport-node.ts). */
export interface Timers {
  /** ms from an arbitrary start; never jumps. */
  monotonic(): number;
  /** Calls `run` once after `delayMs`. */
  setTimer(delayMs: number, run: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** Fields first, then one sentence. */
export interface Logger {
  debug(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}

export const silentLogger: Logger = { debug() {}, warn() {} };

/** What a wire tells its user. Handlers are called from the event loop, never from inside a call to the wire. */
export interface WireHandlers {
  data(bytes: Uint8Array): void;
  /** What was written has left; called once after each `write` that returned false. */
  drain(): void;
  /** The wire is gone, with the reason where there is one. Called exactly once. */
  closed(error: Error | undefined): void;
}

/** An open byte stream to a daemon. */
export interface Wire {
  /** Must be called once, in the same turn of the event loop in which the wire was handed over. */
  attach(handlers: WireHandlers): void;
  /** Takes all of `bytes`. False: more than a little is waiting now, wait for `drain` before writing much more. */
  write(bytes: Uint8Array): boolean;
  /** Stops and resumes the flow of `data`. */
  pause(): void;
  resume(): void;
  /** Ends the wire at once. What was written but not sent may be lost. */
  destroy(): void;
}

/** A way to reach a daemon. */
export interface Transport {
  /** For messages: `unix:/run/libvirt/libvirt-sock`. */
  readonly description: string;
  /** Rejects with the reason when the daemon cannot be reached, or with `signal`'s reason. */
  open(signal: AbortSignal): Promise<Wire>;
}
