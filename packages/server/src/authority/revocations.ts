/**
 * Certificates that are no longer taken, kept in the store and known in memory, so that each connection is checked without waiting.
 * A revocation made by another server arrives by the watch; the gateway cuts open connections then. Called by authority and gateway.
 */
import type { Clock, Logger } from "@sheaf/base";
import { revokedHostKey, revokedPrefix, revokedSerialKey } from "@sheaf/model";
import type { Store, StoreError, Watch } from "@sheaf/store";

const retryMs = 1000;

export class Revocations {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  #revoked = new Set<string>();
  #watch: Watch | null = null;
  #closed = false;

  private constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Resolves when all that is revoked is known. @throws StoreError */
  static async open(store: Store, clock: Clock, logger: Logger): Promise<Revocations> {
    const it = new Revocations(store, clock, logger);
    await it.#load();
    return it;
  }

  isRevoked(hostId: string, serial: string): boolean {
    return this.#revoked.has(revokedHostKey(hostId)) || this.#revoked.has(revokedSerialKey(serial));
  }

  /** Durable when it resolves; `onChange` has been called then. */
  async revokeHost(hostId: string, why: string): Promise<void> {
    await this.#revoke(revokedHostKey(hostId), why);
  }

  async revokeSerial(serial: string, why: string): Promise<void> {
    await this.#revoke(revokedSerialKey(serial), why);
  }

  /** @returns the function that ends it */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
  }

  async #revoke(key: string, why: string): Promise<void> {
    await this.#store.transact({ compare: [], then: [{ put: key, value: JSON.stringify({ at: this.#clock.now(), why }) }] });
    this.#revoked.add(key);
    this.#tell();
  }

  async #load(): Promise<void> {
    const revoked = new Set<string>();
    let page = await this.#store.range({ prefix: revokedPrefix });
    const { revision } = page;
    for (;;) {
      for (const { key } of page.entries) revoked.add(key);
      const last = page.entries.at(-1);
      if (!page.more || !last) break;
      page = await this.#store.range({ prefix: revokedPrefix, after: last.key, revision });
    }
    this.#revoked = revoked;
    this.#watch = this.#store.watch(
      { prefix: revokedPrefix, fromRevision: revision + 1 },
      {
        events: ({ events }) => {
          for (const { type, entry } of events) {
            if (type === "put") this.#revoked.add(entry.key);
            else this.#revoked.delete(entry.key);
          }
          this.#tell();
        },
        ended: (error) => this.#again(error),
      },
    );
    this.#tell();
  }

  /** What is known stays in force until the list has been read anew. */
  #again(error: StoreError): void {
    if (this.#closed || error.code === "closed") return;
    this.#logger.warn({ error: String(error) }, "the watch on revoked certificates ended; the list is read again");
    this.#clock.setTimer(retryMs, () => {
      if (!this.#closed) this.#load().catch((failure: StoreError) => this.#again(failure));
    });
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
