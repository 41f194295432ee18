/**
 * Work by key: the same key is never at work twice at once, a key asked for again meanwhile runs once more, a key that fails is
 * tried again after a pause that doubles up to a bound. Used by the controllers' engine. Knows nothing of what the work is.
 */
import { randomInt, type Clock, type Random, type Timer } from "@sheaf/base";

export interface KeyedQueueOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Keys at work at once. */
  readonly concurrency: number;
  /** @returns when to run this key again though nobody asks, ms; throws to be tried again */
  readonly work: (key: string) => Promise<number | undefined>;
  /** First pause after a failure, doubled each time, up to `maximumPauseMs`; half of each pause is random. */
  readonly firstPauseMs?: number;
  readonly maximumPauseMs?: number;
  readonly failed?: (key: string, error: unknown, failures: number, pauseMs: number) => void;
}

export class KeyedQueue {
  readonly #options: KeyedQueueOptions;
  /** In order of asking; a key is in it once. */
  readonly #waiting = new Set<string>();
  readonly #atWork = new Set<string>();
  readonly #again = new Set<string>();
  readonly #timers = new Map<string, { readonly timer: Timer; readonly at: number }>();
  readonly #failures = new Map<string, number>();
  #idle: (() => void)[] = [];
  #stopped = false;

  constructor(options: KeyedQueueOptions) {
    this.#options = options;
  }

  /** Runs `key` soon, or after `afterMs` where nobody asks sooner. */
  add(key: string, afterMs = 0): void {
    if (this.#stopped) return;
    if (afterMs > 0) return this.#later(key, afterMs);
    this.#timers.get(key)?.timer.cancel();
    this.#timers.delete(key);
    if (this.#atWork.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#run();
  }

  get size(): number {
    return this.#waiting.size + this.#atWork.size;
  }

  /** Resolves when nothing waits and nothing is at work; what only timers will start does not count. */
  idle(): Promise<void> {
    return this.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Takes nothing more; resolves when what is at work has ended. */
  stop(): Promise<void> {
    this.#stopped = true;
    for (const { timer } of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    this.#waiting.clear();
    this.#again.clear();
    return this.idle();
  }

  #later(key: string, afterMs: number): void {
    const at = this.#options.clock.monotonic() + afterMs;
    const set = this.#timers.get(key);
    if (set && set.at <= at) return;
    set?.timer.cancel();
    const timer = this.#options.clock.setTimer(afterMs, () => {
      this.#timers.delete(key);
      this.add(key);
    });
    this.#timers.set(key, { timer, at });
  }

  #run(): void {
    for (const key of this.#waiting) {
      if (this.#atWork.size >= this.#options.concurrency) return;
      this.#waiting.delete(key);
      this.#atWork.add(key);
      void this.#one(key);
    }
  }

  async #one(key: string): Promise<void> {
    try {
      const afterMs = await this.#options.work(key);
      this.#failures.delete(key);
      if (afterMs !== undefined && !this.#stopped) this.#later(key, Math.max(1, afterMs));
    } catch (error) {
      const failures = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, failures);
      const pauseMs = this.#pause(failures);
      this.#options.failed?.(key, error, failures, pauseMs);
      if (!this.#stopped) this.#later(key, pauseMs);
    }
    this.#atWork.delete(key);
    if (this.#again.delete(key)) this.#waiting.add(key);
    this.#run();
    if (this.size > 0) return;
    const waiting = this.#idle;
    this.#idle = [];
    for (const resolve of waiting) resolve();
  }

  #pause(failures: number): number {
    const { firstPauseMs = 100, maximumPauseMs = 30_000, random } = this.#options;
    const whole = Math.min(maximumPauseMs, firstPauseMs * 2 ** Math.min(failures - 1, 30));
    return Math.ceil(whole / 2) + randomInt(random, Math.ceil(whole / 2) + 1);
  }
}
