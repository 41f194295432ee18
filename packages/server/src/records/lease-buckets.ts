/**
 * Leases for idempotency keys: many keys share one, so that a day's keys go away in few steps. A key lives 24 to 25 hours. Called by the
 * record writer for every request that carries a key.
 */
import type { ServerContext } from "../context.ts";

/** The store's longest lease; it is granted again in full when its bucket is closed, so that the last key too has all of it. */
const ttlMs = 86_400_000;
const bucketMs = 3_600_000;
/** A lease's keys are deleted in one revision: that must stay small. */
const bucketKeys = 5000;

export class LeaseBuckets {
  readonly #context: Pick<ServerContext, "store" | "clock" | "logger">;
  #lease: Promise<string> | null = null;
  #since = 0;
  #keys = 0;

  constructor(context: Pick<ServerContext, "store" | "clock" | "logger">) {
    this.#context = context;
  }

  /** @throws StoreError where the store grants none */
  current(): Promise<string> {
    const now = this.#context.clock.monotonic();
    if (this.#lease !== null && (now - this.#since > bucketMs || this.#keys >= bucketKeys)) this.#close(this.#lease);
    if (this.#lease === null) {
      this.#since = now;
      this.#keys = 0;
      this.#lease = this.#context.store.grantLease(ttlMs).then(({ id }) => id);
      this.#lease.catch(() => this.renew());
    }
    this.#keys += 1;
    return this.#lease;
  }

  /** The present lease is of no use any more. */
  renew(): void {
    this.#lease = null;
  }

  #close(lease: Promise<string>): void {
    this.#lease = null;
    lease
      .then((id) => this.#context.store.keepAlive(id))
      .catch((error: unknown) =>
        this.#context.logger.warn({ error: String(error) }, "idempotency keys of the last hour end earlier than they should"),
      );
  }
}
