/**
 * Slows down guessing of passwords: counts failed sign-ins by user and address together, by address and by user. In memory only; bounded.
 * A stranger can slow a user's sign-in from other addresses by half a minute at most, never lock it.
 */
import type { Clock } from "@sheaf/base";
import { SheafError } from "@sheaf/model";

interface Count {
  failures: number;
  lastAt: number;
  openAt: number;
}

/** Failures that are free, and how long the wait may grow. */
const rules = {
  both: { free: 5, maximumMs: 15 * 60_000 },
  address: { free: 30, maximumMs: 15 * 60_000 },
  user: { free: 50, maximumMs: 30_000 },
} as const;
const forgetAfterMs = 30 * 60_000;
const maximumCounts = 20_000;

export class LoginThrottle {
  readonly #clock: Clock;
  readonly #counts = new Map<string, Count>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws SheafError `throttled`, with the time to wait */
  check(user: string, address: string): void {
    const now = this.#clock.monotonic();
    const waitMs = Math.max(...this.#keys(user, address).map(({ key }) => (this.#counts.get(key)?.openAt ?? now) - now));
    if (waitMs > 0)
      throw new SheafError("throttled", "Too many failed sign-ins.", {
        next: `Wait ${Math.ceil(waitMs / 1000)} s, then try again.`,
        retryAfterMs: waitMs,
      });
  }

  failed(user: string, address: string): void {
    const now = this.#clock.monotonic();
    for (const { key, rule } of this.#keys(user, address)) {
      const old = this.#counts.get(key);
      const failures = (old === undefined || now - old.lastAt > forgetAfterMs ? 0 : old.failures) + 1;
      const waitMs = failures < rule.free ? 0 : Math.min(rule.maximumMs, 1000 * 2 ** Math.min(20, failures - rule.free));
      this.#counts.delete(key); // to the end: the oldest is dropped first
      this.#counts.set(key, { failures, lastAt: now, openAt: now + waitMs });
    }
    for (const key of this.#counts.keys()) {
      if (this.#counts.size <= maximumCounts) break;
      this.#counts.delete(key);
    }
  }

  succeeded(user: string, address: string): void {
    this.#counts.delete(`b ${user} ${address}`);
  }

  #keys(user: string, address: string) {
    return [
      { key: `b ${user} ${address}`, rule: rules.both },
      { key: `a ${address}`, rule: rules.address },
      { key: `u ${user}`, rule: rules.user },
    ];
  }
}
