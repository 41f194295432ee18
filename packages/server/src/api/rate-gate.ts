/** Lets so many requests a second through by address (a token bucket), for those who have not shown who they are. Bounded; in memory. */
import type { Clock } from "@sheaf/base";
import { SheafError } from "@sheaf/model";

interface Bucket {
  left: number;
  at: number;
}

const maximumBuckets = 20_000;

export class RateGate {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
  }

  /** @throws SheafError `throttled` */
  pass(address: string): void {
    const now = this.#clock.monotonic();
    const known = this.#buckets.get(address);
    const left = known === undefined ? this.#perSecond : Math.min(this.#perSecond, known.left + ((now - known.at) / 1000) * this.#perSecond);
    this.#buckets.delete(address); // to the end: the longest unused goes first
    this.#buckets.set(address, { left: Math.max(0, left - 1), at: now });
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= maximumBuckets) break;
      this.#buckets.delete(oldest);
    }
    if (left < 1)
      throw new SheafError("throttled", "Too many requests without a valid session from this address.", {
        next: "Sign in first.",
        retryAfterMs: 1000,
      });
  }
}
