/**
 * Teaches the book of use what machines used at which hour of the week, from figures kept over time: a few machines at a time, all of them again
 * twice a day, on every server, since each of them gives advice. Made with the controllers where figures are kept. Ends with `close`.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import { weekProfile, type HourlyUse, type UseBook } from "@sheaf/planning";
import { balancingOf } from "./cluster-problem.ts";
import type { RecordCache } from "./context.ts";
import { clusterOf } from "./records.ts";

export interface UseHistory {
  /** CPUs that a machine used, hour by hour, of the last so many hours. */
  hourlyCpus(vmId: string, hours: number): Promise<HourlyUse>;
}

export interface HabitKeeperOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cache: RecordCache;
  readonly book: UseBook;
  readonly history: UseHistory;
}

/** Four samples of each hour of the week. */
const hoursRead = 28 * 24;
const againMs = 12 * 3_600_000;
const roundMs = 60_000;
/** Between two machines: reading the files of thousands is work for hours, not for a moment. */
const pauseMs = 50;

export class HabitKeeper {
  readonly #options: HabitKeeperOptions;
  /** When each machine's was read; monotonic, ms. */
  readonly #readAt = new Map<string, number>();
  #queue: string[] = [];
  #timer: Timer;
  #closed = false;

  constructor(options: HabitKeeperOptions) {
    this.#options = options;
    this.#timer = options.clock.setTimer(roundMs, () => this.#next());
  }

  close(): void {
    this.#closed = true;
    this.#timer.cancel();
  }

  #next(): void {
    if (this.#queue.length === 0) this.#queue = this.#due();
    const vmId = this.#queue.pop();
    const later = (afterMs: number): void => {
      if (!this.#closed) this.#timer = this.#options.clock.setTimer(afterMs, () => this.#next());
    };
    if (vmId === undefined) return later(roundMs);
    void this.#read(vmId).finally(() => later(pauseMs));
  }

  /** Machines of clusters that look ahead, whose habits are not known or old. */
  #due(): string[] {
    const { cache, clock, book } = this.#options;
    const now = clock.monotonic();
    const looking = new Set<string>();
    for (const host of cache.all("host")) {
      const cluster = clusterOf(host, cache);
      if (!cluster) continue;
      const { mode, forecastHours } = balancingOf(cluster);
      if (mode !== "off" && forecastHours > 0) looking.add(host.id);
    }
    for (const id of this.#readAt.keys()) {
      if (cache.get("vm", id) !== undefined) continue;
      this.#readAt.delete(id);
      book.learn(id, null);
    }
    const due: string[] = [];
    for (const { id, placement } of cache.all("vm"))
      if (placement !== undefined && looking.has(placement.host) && now - (this.#readAt.get(id) ?? -Infinity) >= againMs) due.push(id);
    return due;
  }

  async #read(vmId: string): Promise<void> {
    const { clock, book, history, logger } = this.#options;
    this.#readAt.set(vmId, clock.monotonic());
    try {
      const read = await history.hourlyCpus(vmId, hoursRead);
      if (!this.#closed) book.learn(vmId, weekProfile(read));
    } catch (error) {
      logger.debug({ vm: vmId, error: String(error) }, "what a machine used over the weeks could not be read");
    }
  }
}
