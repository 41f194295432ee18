/**
 * Agents stay with the server that they came to: one that was away has none when it is back. A server that carries clearly more than its
 * share asks a few of its idle agents at a time to go to the one that carries the fewest. Called by the start-up code. Must never send
 * agents to a server that the store does not answer, nor while a server that is there is not reached: its agents are not known then.
 */
import type { Clock, Logger } from "@sheaf/base";
import { freshMs } from "./hand-over.ts";
import { lookEvery } from "./look-every.ts";

export interface ServerLoad {
  /** Where agents reach it. */
  readonly agentUrl: string;
  readonly agents: number;
}

export interface AgentSpreadOptions {
  readonly own: {
    readonly agents: number;
    /** @returns how many were asked to go there */
    sendTo(agentUrl: string, count: number): number;
  };
  readonly store: { readonly storeSilentMs: number };
  /** `loads`: every other server that is there; `null` where one of them is not reached, or the store does not answer it. */
  readonly others: { readonly loads: readonly ServerLoad[] | null };
  readonly clock: Clock;
  readonly logger: Logger;
}

const lookMs = 5000;
/** The same servers must have been there for so long: one that is being started again is not filled and emptied. */
const settledMs = 30_000;
/** More than the share by this part begins it; it ends at the share. */
const tolerated = 0.1;
/** Of its own agents, at a look. */
const partAtOnce = 0.02;

/** How many agents this server gives away now, and to whom. Pure. @param spreading it has begun, and is not at its share yet */
export function surplus(
  own: number,
  others: readonly ServerLoad[],
  spreading: boolean,
): { readonly agentUrl: string; readonly count: number } | null {
  const fewest = others.toSorted((a, b) => a.agents - b.agents)[0];
  if (fewest === undefined) return null;
  const share = (own + others.reduce((sum, { agents }) => sum + agents, 0)) / (others.length + 1);
  if (own <= Math.ceil(share) + (spreading ? 0 : Math.floor(share * tolerated))) return null;
  const count = Math.min(own - Math.ceil(share), Math.max(1, Math.floor(own * partAtOnce)), Math.max(1, Math.floor(share) - fewest.agents));
  return { agentUrl: fewest.agentUrl, count };
}

export class AgentSpread {
  readonly #options: AgentSpreadOptions;
  readonly #looking: ReturnType<typeof lookEvery>;
  #servers = "";
  #sameSince: number;
  #spreading = false;

  constructor(options: AgentSpreadOptions) {
    this.#options = options;
    this.#sameSince = options.clock.monotonic();
    this.#looking = lookEvery(options.clock, lookMs, () => this.#look());
  }

  close(): void {
    this.#looking.cancel();
  }

  #look(): void {
    const { own, store, others, clock, logger } = this.#options;
    const loads = store.storeSilentMs > freshMs ? null : others.loads;
    const servers = loads === null ? "" : loads.map(({ agentUrl }) => agentUrl).join(" ");
    if (servers !== this.#servers) {
      this.#servers = servers;
      this.#sameSince = clock.monotonic();
      this.#spreading = false;
    }
    if (loads === null || clock.monotonic() - this.#sameSince < settledMs) return;
    const away = surplus(own.agents, loads, this.#spreading);
    this.#spreading = away !== null;
    if (away === null) return;
    const asked = own.sendTo(away.agentUrl, away.count);
    if (asked > 0) logger.info({ asked, of: own.agents, server: away.agentUrl }, "agents are asked to go to a server that carries fewer");
  }
}
