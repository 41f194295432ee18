/**
 * Level-triggered work, one run a key at a time: everything an agent does to a machine, volume, network or pool goes through here
 * under that thing's key. A run that failed comes again after a growing pause; a touch while it runs means one more run.
 * Knows nothing of what the work is; never runs the same key twice at once.
 */
import type { Clock, Timer } from "@sheaf/base";

export interface PerKeyOptions {
  readonly clock: Clock;
  /** One look at `key`. @returns ms after which to look again by itself, or nothing. Throwing means: again, after a pause. */
  readonly run: (key: string) => Promise<{ readonly againAfterMs?: number } | void>;
  /** Told of each failure, with the pause before the next try in ms. */
  readonly failed: (key: string, error: unknown, retryAfterMs: number) => void;
  /** Runs at once, over all keys; 16 by default. A run that hangs holds one of these places until its own deadlines end it. */
  readonly parallel?: number;
  readonly firstRetryMs?: number;
  readonly longestRetryMs?: number;
}

interface Entry {
  running: boolean;
  /** Touched since the present run began, or waiting for a place. */
  wanted: boolean;
  failures: number;
  timer: Timer | undefined;
  /** Work of others that wants this key for itself. */
  readonly visitors: (() => Promise<void>)[];
}

export class PerKey {
  readonly #options: Required<PerKeyOptions>;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: string[] = [];
  #running = 0;
  #stopped = false;
  #idle: (() => void)[] = [];

  constructor(options: PerKeyOptions) {
    this.#options = { parallel: 16, firstRetryMs: 500, longestRetryMs: 30_000, ...options };
  }

  /** Look at this key soon. */
  touch(key: string): void {
    if (this.#stopped) return;
    const entry = this.#entry(key);
    entry.timer?.cancel();
    entry.timer = undefined;
    if (entry.wanted) return;
    entry.wanted = true;
    if (!entry.running) this.#queue(key);
  }

  /** Runs `work` while nothing else runs under `key`. Its failure is the caller's; the key is looked at afterwards. */
  exclusive<T>(key: string, work: () => Promise<T>): Promise<T> {
    if (this.#stopped) return Promise.reject(new Error(`the agent is stopping: ${key} is not worked on any more`));
    const entry = this.#entry(key);
    return new Promise((resolve, reject) => {
      entry.visitors.push(() => work().then(resolve, reject));
      if (entry.running) return;
      const place = this.#waiting.indexOf(key);
      if (place >= 0) this.#waiting.splice(place, 1);
      this.#queue(key);
    });
  }

  /** Nothing new begins; resolves when what runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const entry of this.#entries.values()) entry.timer?.cancel();
    this.#waiting.length = 0;
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Keys that run or wait for a place: 0 means that everything has settled, pauses aside. */
  get busy(): number {
    return this.#running + this.#waiting.length;
  }

  #entry(key: string): Entry {
    let entry = this.#entries.get(key);
    if (!entry) this.#entries.set(key, (entry = { running: false, wanted: false, failures: 0, timer: undefined, visitors: [] }));
    return entry;
  }

  #queue(key: string): void {
    const entry = this.#entry(key);
    // Who asks for a key may hold a place himself: if visitors waited for one, all places could wait for each other.
    if (entry.visitors.length > 0) {
      this.#running += 1;
      void this.#work(key, entry);
      return;
    }
    this.#waiting.push(key);
    this.#pump();
  }

  #pump(): void {
    while (!this.#stopped && this.#running < this.#options.parallel) {
      const key = this.#waiting.shift();
      if (key === undefined) return;
      this.#running += 1;
      void this.#work(key, this.#entry(key));
    }
  }

  async #work(key: string, entry: Entry): Promise<void> {
    entry.running = true;
    const visitor = entry.visitors.shift();
    if (visitor) {
      await visitor();
      entry.wanted = true;
    } else {
      entry.wanted = false;
      await this.#look(key, entry);
    }
    entry.running = false;
    this.#running -= 1;
    if (!this.#stopped && (entry.wanted || entry.visitors.length > 0)) this.#queue(key);
    else if (entry.timer === undefined && entry.failures === 0) this.#entries.delete(key);
    this.#pump();
    if (this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #look(key: string, entry: Entry): Promise<void> {
    const { firstRetryMs, longestRetryMs, failed, run } = this.#options;
    try {
      const result = await run(key);
      entry.failures = 0;
      if (result?.againAfterMs !== undefined) this.#later(key, entry, result.againAfterMs);
    } catch (error) {
      const pauseMs = Math.min(firstRetryMs * 2 ** Math.min(entry.failures, 20), longestRetryMs);
      entry.failures += 1;
      failed(key, error, pauseMs);
      this.#later(key, entry, pauseMs);
    }
  }

  #later(key: string, entry: Entry, delayMs: number): void {
    if (this.#stopped || entry.wanted) return;
    entry.timer?.cancel();
    entry.timer = this.#options.clock.setTimer(delayMs, () => {
      entry.timer = undefined;
      this.touch(key);
    });
  }
}
