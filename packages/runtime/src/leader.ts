/**
 * Leadership: one of several servers runs the controllers. It holds a key with a lease; every transaction of a controller compares
 * that key, so that a leader that was paused and overtaken can write nothing. Used by `startControllers`.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import { leaderKey } from "@sheaf/model";
import type { Compare, Store } from "@sheaf/store";

export interface LeadershipOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is led: `controllers`. */
  readonly name: string;
  /** This server, for people. */
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
  }

  /** Gives the lead up, so that another server need not wait for the lease to end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#turn;
    this.#timer?.cancel();
    this.#lose();
    if (this.#lease !== undefined) await this.#options.store.revokeLease(this.#lease).catch(() => {});
  }

  async #step(): Promise<void> {
    const { clock, logger } = this.#options;
    try {
      if (this.#condition && this.#lease !== undefined) await this.#options.store.keepAlive(this.#lease);
      else await this.#campaign();
    } catch (error) {
      if (this.#condition) logger.warn({ error: String(error) }, "the lead could not be kept");
      this.#lose();
      this.#lease = undefined;
    }
    if (!this.#stopped) {
      this.#timer = clock.setTimer(this.#leaseMs / 3, () => {
        this.#turn = this.#step();
      });
    }
  }

  async #campaign(): Promise<void> {
    const { store, name, identity, logger } = this.#options;
    this.#lease ??= (await store.grantLease(this.#leaseMs)).id;
    await store.keepAlive(this.#lease);
    const key = leaderKey(name);
    const result = await store.transact({
      compare: [{ key, createRevision: 0 }],
      then: [{ put: key, value: JSON.stringify({ identity }), lease: this.#lease }],
    });
    const held = result.succeeded
      ? result.revision
      : result.current.get(key)?.lease === this.#lease
        ? result.current.get(key)?.createRevision
        : undefined;
    if (held === undefined || this.#stopped) return;
    this.#condition = { key, createRevision: held };
    logger.info({ name, identity }, "this server leads");
    this.#options.began();
  }

  #lose(): void {
    if (!this.#condition) return;
    this.#condition = undefined;
    this.#options.ended();
  }
}
