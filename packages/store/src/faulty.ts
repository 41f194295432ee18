/**
 * A store that fails as real ones do: commits whose answer is lost, delays, ended watches, refusals. Wraps any store; called by the
 * simulator and by tests. Faults come from a seed (Random port), or are asked for one at a time.
 */
import { randomInt, sleep } from "@sheaf/base";
import type { Clock, Random } from "@sheaf/base";
import { StoreError } from "./store.ts";
import type { Lease, RangeInput, Store, TransactionInput, TransactionResult, Watch, WatchBatch, WatchHandlers } from "./store.ts";

/** Chances are in 0 … 1, one draw for each call. All default to 0. */
export interface Faults {
  /** The transaction is committed, but its caller hears `uncertain`. */
  readonly uncertainCommitted: number;
  /** The transaction is lost, and its caller hears `uncertain`. */
  readonly uncertainLost: number;
  /** Any call is refused with `unavailable` and does nothing. */
  readonly unavailable: number;
  /** After a batch of events the watch ends with `unavailable`. */
  readonly watchEnds: number;
  /** Calls and events take this long at most, evenly spread. Order is kept. */
  readonly maxDelayMs: number;
}

export type TransactionFault = "uncertain-committed" | "uncertain-lost" | "unavailable";

export interface FaultyStore extends Store {
  /** Replaces the faults from now on. */
  setFaults(faults: Partial<Faults>): void;
  /** The next transaction meets this, whatever the chances; several are met in order. */
  failNextTransaction(fault: TransactionFault): void;
  /** Ends every watch now, as a lost connection would. */
  endWatches(): void;
  /** Compacts everything but the newest revision and ends every watch: whoever was behind must list again. */
  compactNow(): Promise<void>;
}

const noFaults: Faults = { uncertainCommitted: 0, uncertainLost: 0, unavailable: 0, watchEnds: 0, maxDelayMs: 0 };

export function makeFaulty(
  store: Store,
  options: { readonly clock: Clock; readonly random: Random; readonly faults?: Partial<Faults> },
): FaultyStore {
  return new FaultInjector(store, options);
}

interface FaultyWatch {
  end(error: StoreError): void;
}

class FaultInjector implements FaultyStore {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #planned: TransactionFault[] = [];
  readonly #watches = new Set<FaultyWatch>();
  #faults: Faults;

  constructor(store: Store, { clock, random, faults }: { readonly clock: Clock; readonly random: Random; readonly faults?: Partial<Faults> }) {
    this.#store = store;
    this.#clock = clock;
    this.#random = random;
    this.#faults = { ...noFaults, ...faults };
  }

  get incarnation(): string {
    return this.#store.incarnation;
  }

  setFaults(faults: Partial<Faults>): void {
    this.#faults = { ...noFaults, ...faults };
  }

  failNextTransaction(fault: TransactionFault): void {
    this.#planned.push(fault);
  }

  endWatches(): void {
    for (const watch of [...this.#watches]) watch.end(lostConnection());
  }

  async compactNow(): Promise<void> {
    await this.#store.compact(await this.#store.revision());
    this.endWatches();
  }

  async get(key: string, options?: { readonly revision?: number }) {
    await this.#trouble();
    return this.#store.get(key, options);
  }

  async range(input: RangeInput) {
    await this.#trouble();
    return this.#store.range(input);
  }

  async transact(input: TransactionInput): Promise<TransactionResult> {
    const fault = this.#planned.shift() ?? this.#drawTransactionFault();
    await this.#delay();
    if (fault === "unavailable") throw lostConnection();
    if (fault === "uncertain-lost") throw unanswered();
    const result = await this.#store.transact(input);
    await this.#delay();
    if (fault === "uncertain-committed") throw unanswered();
    return result;
  }

  watch(input: { readonly prefix: string; readonly fromRevision: number }, handlers: WatchHandlers): Watch {
    // One promise after the other: delays differ, the order must not.
    let tail: Promise<void> = Promise.resolve();
    let open = true;
    const inOrder = (run: () => void): void => {
      tail = tail
        .then(() => this.#delay())
        .then(() => {
          if (open) run();
        });
    };
    const end = (error: StoreError): void => {
      if (!open) return;
      open = false;
      this.#watches.delete(state);
      inner.close();
      handlers.ended(error);
    };
    const state: FaultyWatch = { end };
    const deliver = (batch: WatchBatch): void => {
      try {
        handlers.events(batch);
      } catch (cause) {
        return end(new StoreError("watch-failed", `the handler of the watch on "${input.prefix}" threw at revision ${batch.revision}`, { cause }));
      }
      if (this.#draw(this.#faults.watchEnds)) end(lostConnection());
    };
    const inner = this.#store.watch(input, {
      events: (batch) => inOrder(() => deliver(batch)),
      progress: (revision) => inOrder(() => handlers.progress?.(revision)),
      ended: (error) => inOrder(() => end(error)),
    });
    this.#watches.add(state);
    return {
      close: () => {
        open = false;
        this.#watches.delete(state);
        inner.close();
      },
    };
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    await this.#trouble();
    return this.#store.grantLease(ttlMs);
  }

  async keepAlive(lease: string): Promise<void> {
    await this.#trouble();
    return this.#store.keepAlive(lease);
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#trouble();
    return this.#store.revokeLease(lease);
  }

  async compact(revision: number): Promise<void> {
    await this.#trouble();
    return this.#store.compact(revision);
  }

  async revision(): Promise<number> {
    await this.#trouble();
    return this.#store.revision();
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #trouble(): Promise<void> {
    const refused = this.#draw(this.#faults.unavailable);
    await this.#delay();
    if (refused) throw lostConnection();
  }

  async #delay(): Promise<void> {
    if (this.#faults.maxDelayMs > 0) await sleep(this.#clock, randomInt(this.#random, this.#faults.maxDelayMs + 1));
  }

  #drawTransactionFault(): TransactionFault | null {
    if (this.#draw(this.#faults.unavailable)) return "unavailable";
    if (this.#draw(this.#faults.uncertainLost)) return "uncertain-lost";
    return this.#draw(this.#faults.uncertainCommitted) ? "uncertain-committed" : null;
  }

  #draw(chance: number): boolean {
    return chance > 0 && randomInt(this.#random, 1_000_000) < chance * 1_000_000;
  }
}

function unanswered(): StoreError {
  return new StoreError(
    "uncertain",
    "the store did not answer in time (injected fault); the transaction is perhaps committed: look before repeating it",
  );
}

function lostConnection(): StoreError {
  return new StoreError("unavailable", "the store cannot be reached (injected fault); try again");
}
