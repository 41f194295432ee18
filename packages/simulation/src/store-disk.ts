/**
 * The server's store on a simulated disk: what is written waits for the disk in a queue and is acknowledged when it is there. When the
 * process dies a part of the queue may have reached the disk unacknowledged, the rest is torn off. The disk can be slow or full; the
 * store's answers can be lost, as etcd's are. One of these for each life of a server; the data below is one for all.
 */
import { type Clock, sleep } from "@sheaf/base";
import { type Store, StoreError, type TransactionInput, type TransactionResult, type Watch, type WatchHandlers } from "@sheaf/store";
import type { Chance } from "./chance.ts";
import type { Life } from "./life.ts";

/** Changed by faults; shared by all lives of a server. */
export interface DiskState {
  /** Time of one write to the disk, ms; all that waits goes with one. */
  syncMs: number;
  full: boolean;
  /** Share of transactions whose answer is lost; half of them were committed. */
  uncertain: number;
  /** Share of calls that are refused for now. */
  unavailable: number;
  /** This server does not reach the store: calls are given up, watches tell nothing. */
  cut: boolean;
  /** The store's members choose a leader: what was under way to the old one is perhaps committed, the rest is refused. */
  electing: boolean;
}

export const goodDisk = (): DiskState => ({ syncMs: 2, full: false, uncertain: 0, unavailable: 0, cut: false, electing: false });

/** After so long a client of a store that it does not reach gives up a call, and takes a watch for lost. */
export const storeSilenceMs = 1500;

interface Waiting {
  readonly input: TransactionInput;
  readonly commit: () => Promise<void>;
}

export class StoreDisk implements Store {
  readonly #below: Store;
  readonly #disk: DiskState;
  readonly #clock: Clock;
  readonly #life: Life;
  readonly #chance: Chance;
  #queue: Waiting[] = [];
  #writing = false;
  readonly #watches = new Set<{ end(error: StoreError): void }>();

  /** @param clock true time: a disk does not care what its host's clock says */
  constructor(below: Store, disk: DiskState, options: { readonly clock: Clock; readonly life: Life; readonly chance: Chance }) {
    this.#below = below;
    this.#disk = disk;
    this.#clock = options.clock;
    this.#life = options.life;
    this.#chance = options.chance;
    options.life.atEnd(() => this.#tear());
  }

  get incarnation(): string {
    return this.#below.incarnation;
  }

  get(key: string, options?: { readonly revision?: number }) {
    return this.#read(() => this.#below.get(key, options));
  }

  range(input: Parameters<Store["range"]>[0]) {
    return this.#read(() => this.#below.range(input));
  }

  revision(): Promise<number> {
    return this.#read(() => this.#below.revision());
  }

  transact(input: TransactionInput): Promise<TransactionResult> {
    return this.#life.gate(
      new Promise<TransactionResult>((resolve, reject) => {
        if (this.#chance.happens(this.#disk.unavailable)) return reject(lost());
        if (this.#disk.cut) return void sleep(this.#clock, storeSilenceMs).then(() => reject(unanswered()));
        if (this.#disk.electing && this.#chance.happens(0.5)) return reject(lost());
        // Refused before anything is written; what only frees space would still pass.
        if (this.#disk.full && input.then.some((operation) => "put" in operation)) return reject(new StoreError("full", "no space left (simulated)"));
        const uncertain = this.#disk.electing || this.#chance.happens(this.#disk.uncertain);
        if (uncertain && this.#chance.happens(0.5)) return void sleep(this.#clock, 1000).then(() => reject(unanswered()));
        this.#queue.push({
          input,
          commit: async () => {
            try {
              const result = await this.#below.transact(input);
              // The answer to what was written may not come through any more.
              if (uncertain || this.#disk.cut) reject(unanswered());
              else resolve(result);
            } catch (error) {
              reject(error);
            }
          },
        });
        this.#write();
      }),
    );
  }

  watch(input: { readonly prefix: string; readonly fromRevision: number }, handlers: WatchHandlers): Watch {
    const life = this.#life;
    let open = true;
    const told = (work: () => void): void => {
      if (this.#disk.cut) lose();
      if (open && !losing) life.run(() => (open ? work() : undefined));
    };
    // What was not told is never followed by what came later: the watch is as good as ended, and found out to be.
    let losing = false;
    const lose = (): void => {
      if (losing) return;
      losing = true;
      this.#clock.setTimer(storeSilenceMs, () => end(lost()));
    };
    const end = (error: StoreError): void => {
      if (!open) return;
      inner.close();
      this.#watches.delete(state);
      life.run(() => {
        open = false;
        handlers.ended(error);
      });
    };
    const inner = this.#below.watch(input, {
      events: (batch) =>
        told(() => {
          try {
            handlers.events(batch);
          } catch (cause) {
            end(new StoreError("watch-failed", `the handler of the watch on "${input.prefix}" threw`, { cause }));
          }
        }),
      progress: (revision) => told(() => handlers.progress?.(revision)),
      ended: (error) => end(error),
    });
    const state = { end };
    this.#watches.add(state);
    if (this.#disk.cut) lose();
    const close = (): void => {
      open = false;
      inner.close();
      this.#watches.delete(state);
    };
    life.atEnd(close);
    return { close };
  }

  grantLease(ttlMs: number) {
    return this.#read(() => this.#below.grantLease(ttlMs));
  }

  keepAlive(lease: string): Promise<void> {
    return this.#read(() => this.#below.keepAlive(lease));
  }

  revokeLease(lease: string): Promise<void> {
    return this.#read(() => this.#below.revokeLease(lease));
  }

  compact(revision: number): Promise<void> {
    return this.#read(() => this.#below.compact(revision));
  }

  /** The data is the world's: only this life lets go of it. */
  async close(): Promise<void> {
    for (const watch of [...this.#watches]) watch.end(new StoreError("closed", "the store is closed"));
  }

  /** Every watch ends, as by a lost connection; `compacted`: what was missed cannot be had any more. */
  async endWatches(compacted: boolean): Promise<void> {
    if (compacted) await this.#below.compact(await this.#below.revision());
    for (const watch of [...this.#watches]) watch.end(lost());
  }

  #read<T>(read: () => Promise<T>): Promise<T> {
    if (this.#disk.electing || this.#chance.happens(this.#disk.unavailable)) return this.#life.gate(Promise.reject(lost()));
    if (this.#disk.cut) return this.#life.gate(sleep(this.#clock, storeSilenceMs).then(() => Promise.reject(lost())));
    return this.#life.gate(read());
  }

  #write(): void {
    if (this.#writing || this.#queue.length === 0) return;
    this.#writing = true;
    this.#clock.setTimer(Math.max(1, this.#disk.syncMs), () => {
      if (!this.#life.alive) return;
      this.#writing = false;
      for (const { commit } of this.#queue.splice(0)) void commit();
      this.#write();
    });
  }

  /** Power or process gone in the middle of a write: its beginning may be there. */
  #tear(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { input } of queue.slice(0, this.#chance.between(0, queue.length))) void this.#below.transact(input).catch(() => {});
  }
}

const lost = (): StoreError => new StoreError("unavailable", "the store cannot be reached (simulated); try again");
const unanswered = (): StoreError => new StoreError("uncertain", "the store did not answer in time (simulated): perhaps committed");
