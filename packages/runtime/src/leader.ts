/**
 * Leadership: one of several servers runs the controllers. It holds a key with a lease; every transaction of a controller compares
 * that key, so that a leader that was paused and overtaken can write nothing. Used by `startControllers`.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import { leaderKey } from "@sheaf/model";
import { StoreError, type Compare, type Operation, type Store, type Watch } from "@sheaf/store";

export interface LeadershipOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is led: `controllers`. */
  readonly name: string;
  /** This server, for people; the same after a restart, and no other server's: an earlier life with this name is succeeded at once. */
  readonly identity: string;
  readonly leaseMs?: number;
  /** Called when this server begins to lead, and when it leads no more. */
  readonly began: () => void;
  readonly ended: () => void;
}

export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #leaseMs: number;
  #lease: string | undefined;
  #condition: Compare | undefined;
  #timer: Timer | undefined;
  #watch: Watch | undefined;
  #expiry: Timer | undefined;
  /** Only a server that has just started may take the lead over from its own earlier life. */
  #first = true;
  #stopped = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? 10_000;
  }

  get leads(): boolean {
    return this.#condition !== undefined;
  }

  /** Conditions that hold only while this server leads. @throws Error where it does not */
  conditions(): readonly Compare[] {
    if (!this.#condition) throw new Error("This server does not lead.");
    return [this.#condition];
  }

  start(): void {
    this.#turn = this.#step();
    void this.#follow();
  }

  /** Gives the lead up, so that another server need not wait for the lease to end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watch?.close();
    this.#timer?.cancel();
    await this.#turn;
    this.#timer?.cancel();
    this.#lose();
    if (this.#lease !== undefined) await this.#options.store.revokeLease(this.#lease).catch(() => {});
  }

  /** When the leader is gone, its key goes: whoever sees that stands for election at once. */
  async #follow(): Promise<void> {
    const { store, clock, name } = this.#options;
    const again = (): void => void clock.setTimer(this.#leaseMs / 3, () => void this.#follow());
    if (this.#stopped) return;
    try {
      const prefix = leaderKey(name);
      this.#watch = store.watch(
        { prefix, fromRevision: (await store.revision()) + 1 },
        {
          events: ({ events }) => {
            if (this.#condition !== undefined || !events.some(({ type, entry }) => type === "delete" && entry.key === prefix)) return;
            this.#turn = this.#turn.then(() => this.#step());
          },
          ended: (error) => {
            if (error.code !== "closed") again();
          },
        },
      );
      if (this.#stopped) this.#watch.close();
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "closed")) again();
    }
  }

  async #step(): Promise<void> {
    if (this.#stopped) return;
    const { store, clock, logger } = this.#options;
    this.#timer?.cancel();
    const asked = clock.monotonic();
    try {
      if (this.#condition && this.#lease !== undefined) await store.keepAlive(this.#lease);
      // At first, and at once where the lead was given up while the store did not answer.
      if (!this.#condition) await this.#campaign();
      if (this.#condition) this.#leadUntil(asked + this.#leaseMs);
    } catch (error) {
      // A store that is away for a moment costs nothing yet: the lease lasts, and nobody else can lead while it does.
      const gone = error instanceof StoreError && error.code === "lease-expired";
      if (gone) this.#lease = undefined;
      if (gone) this.#lose();
      logger[this.#condition ? "warn" : "debug"]({ error: String(error) }, "the lead was not renewed; trying again");
    }
    if (!this.#stopped) {
      this.#timer = clock.setTimer(this.#leaseMs / 3, () => {
        this.#turn = this.#step();
      });
    }
  }

  /** When nothing was heard from the store for as long as the lease lasts, somebody else may lead: then this server does not. */
  #leadUntil(at: number): void {
    const { clock, logger } = this.#options;
    this.#expiry?.cancel();
    this.#expiry = clock.setTimer(Math.max(0, at - clock.monotonic()), () => {
      logger.warn({ name: this.#options.name }, "the lead was not renewed in time and is given up");
      this.#lose();
    });
  }

  async #campaign(): Promise<void> {
    const { store, name, identity, logger } = this.#options;
    this.#lease ??= (await store.grantLease(this.#leaseMs)).id;
    await store.keepAlive(this.#lease);
    const key = leaderKey(name);
    const value = JSON.stringify({ identity });
    const put: Operation = { put: key, value, lease: this.#lease };
    let result = await store.transact({ compare: [{ key, createRevision: 0 }], then: [put] });
    let holder = result.current.get(key);
    if (!result.succeeded && this.#first && holder?.value === value && holder.lease !== this.#lease) {
      // An earlier life of this server, killed: its lease need not be waited for.
      result = await store.transact({ compare: [{ key, modRevision: holder.modRevision }], then: [put] });
      holder = result.current.get(key);
    }
    this.#first = false;
    const held = result.succeeded ? result.revision : holder?.lease === this.#lease ? holder.modRevision : undefined;
    if (held === undefined || this.#stopped) return;
    // The key is put once a term: its revision tells this term from every other.
    this.#condition = { key, modRevision: held };
    logger.info({ name, identity }, "this server leads");
    this.#options.began();
  }

  #lose(): void {
    this.#expiry?.cancel();
    if (!this.#condition) return;
    this.#condition = undefined;
    this.#options.ended();
  }
}
