/**
 * Which leases live, and until when. Called by the backends; says when one has run out, and leaves it to the backend to delete
 * the keys. Times are monotonic: a jump of the wall clock ends no lease.
 */
import type { Clock, Timer } from "@sheaf/base";
import { leaseExpiredError } from "./validation.ts";

interface LeaseState {
  readonly ttlMs: number;
  expiresAt: number;
  timer: Timer | null;
}

export class LeaseClock {
  readonly #clock: Clock;
  readonly #expired: (lease: string) => void;
  readonly #leases = new Map<string, LeaseState>();

  /** @param expired called once for each lease that runs out; the lease is no longer alive then */
  constructor(clock: Clock, expired: (lease: string) => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  start(lease: string, ttlMs: number): void {
    const state: LeaseState = { ttlMs, expiresAt: this.#clock.monotonic() + ttlMs, timer: null };
    this.#leases.set(lease, state);
    this.#arm(lease, state);
  }

  /** A lease past its time is dead even when the timer is late. */
  alive(lease: string): boolean {
    const state = this.#leases.get(lease);
    return state !== undefined && this.#clock.monotonic() < state.expiresAt;
  }

  /** The whole time of a lease that lives, in ms. */
  time(lease: string): number | null {
    return this.alive(lease) ? (this.#leases.get(lease)?.ttlMs ?? null) : null;
  }

  /** @throws StoreError `lease-expired` */
  keepAlive(lease: string): void {
    const state = this.#leases.get(lease);
    if (state === undefined || !this.alive(lease)) throw leaseExpiredError(lease);
    // The timer stays: when it fires early it is set again for what is left. Renewals are many, expiries few.
    state.expiresAt = this.#clock.monotonic() + state.ttlMs;
  }

  /** @returns false when the lease was gone */
  stop(lease: string): boolean {
    this.#leases.get(lease)?.timer?.cancel();
    return this.#leases.delete(lease);
  }

  close(): void {
    for (const state of this.#leases.values()) state.timer?.cancel();
    this.#leases.clear();
  }

  #arm(lease: string, state: LeaseState): void {
    state.timer = this.#clock.setTimer(Math.max(0, state.expiresAt - this.#clock.monotonic()), () => {
      if (this.#clock.monotonic() < state.expiresAt) return this.#arm(lease, state);
      this.#leases.delete(lease);
      this.#expired(lease);
    });
  }
}
