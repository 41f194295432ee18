/**
 * A server that the store answers no more, while it answers another server, can tell its agents nothing new: it sends them to the other
 * ones. Called by the start-up code. Must never send agents away where no other server has the store: they stay, and their consoles with them.
 */
import type { Clock, Logger } from "@sheaf/base";
import { lookEvery } from "./look-every.ts";

export interface HandOverOptions {
  readonly own: { readonly storeSilentMs: number };
  readonly others: { readonly othersStoreSilentMs: number };
  /** Ends every connection of an agent. @returns how many there were */
  readonly release: () => number;
  readonly clock: Clock;
  readonly logger: Logger;
}

const lookMs = 250;
/** As long as a lead lasts: whoever leads next needs the agents too. */
const silentMs = 3000;
/** Another server's answer may be so old: servers ask once a second, and tell once a second. */
export const freshMs = 2500;

export class HandOver {
  readonly #options: HandOverOptions;
  readonly #looking: ReturnType<typeof lookEvery>;

  constructor(options: HandOverOptions) {
    this.#options = options;
    this.#looking = lookEvery(options.clock, lookMs, () => this.#look());
  }

  close(): void {
    this.#looking.cancel();
  }

  /** Again and again: whoever comes back meanwhile is not kept waiting until the store has not answered either. */
  #look(): void {
    const { own, others, release, logger } = this.#options;
    if (own.storeSilentMs < silentMs || others.othersStoreSilentMs > freshMs) return;
    const agents = release();
    if (agents > 0)
      logger.warn({ agents, storeSilentMs: Math.round(own.storeSilentMs) }, "the store answers other servers and not this one: agents go there");
  }
}
