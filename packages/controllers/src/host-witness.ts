/**
 * Whether a host whose agent is silent lives all the same: by the pulse that the server hears, else by the pulse that another host sees
 * in a shared pool, where two looks must differ. Asked by the fencing controller before it begins anything.
 */
import type { PulseMessage } from "@sheaf/contract";
import type { RecordOf } from "@sheaf/model";
import type { ControllerContext } from "./context.ts";

type Host = RecordOf<"host">;

export type Witness = { readonly says: string | undefined } | { readonly lookAgainMs: number };

/** A pulse comes every second. */
const pulseCountsForMs = 3500;
/** Long enough for a pulse to have come, and for a network file system to show it. */
const betweenLooksMs = 1500;
const looksCountForMs = 3 * betweenLooksMs;
const callTimeoutMs = 1000;
/** It says that it works every second or so. */
const agentHangsAfterMs = 5000;

export class HostWitnesses {
  readonly #context: ControllerContext;
  /** The last look at each silent host's pulse in a pool. */
  readonly #looks = new Map<string, { readonly at: number; readonly pulse: PulseMessage | null; readonly moved: boolean }>();

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  /** What its pulse says to the servers; `undefined`: they do not hear it. */
  heard(hostId: string): string | undefined {
    const { agents, clock } = this.#context;
    const pulse = agents.pulse(hostId);
    return pulse && clock.monotonic() - pulse.heardAt < pulseCountsForMs ? `its pulse is heard, ${agentWords(pulse.message)}` : undefined;
  }

  async ask(host: Host): Promise<Witness> {
    const { clock } = this.#context;
    const heard = this.heard(host.id);
    if (heard !== undefined) return { says: heard };
    const found = await this.#lookIntoPools(host);
    const before = this.#looks.get(host.id);
    const now = clock.monotonic();
    if (!found) {
      this.#looks.delete(host.id);
      return { says: undefined };
    }
    const known = before !== undefined && now - before.at < looksCountForMs ? before : undefined;
    if (known && now - known.at < betweenLooksMs) return known.moved ? { says: words(found) } : { lookAgainMs: betweenLooksMs - (now - known.at) };
    const moved = known !== undefined && differs(known.pulse, found.pulse);
    this.#looks.set(host.id, { at: now, pulse: found.pulse, moved });
    if (known === undefined) return { lookAgainMs: betweenLooksMs };
    return { says: moved ? words(found) : undefined };
  }

  /** By the first host that can tell. */
  async #lookIntoPools(host: Host): Promise<{ pulse: PulseMessage; by: Host; pool: string } | null> {
    const { agents, cache } = this.#context;
    for (const pool of cache.all("pool")) {
      if (pool.spec.type !== "shared" || pool.status.hosts?.[host.id] === undefined) continue;
      for (const other of cache.all("host")) {
        if (other.id === host.id || !agents.connected(other.id) || pool.status.hosts?.[other.id]?.state !== "ready") continue;
        const answer = await agents
          .call(other.id, "pool.pulse", { poolId: pool.id, hostId: host.id }, { timeoutMs: callTimeoutMs })
          .catch(() => ({ pulse: null }));
        if (answer.pulse) return { pulse: answer.pulse, by: other, pool: pool.name };
        break; // another host sees the same
      }
    }
    return null;
  }
}

/** No figures: they would change, and be written to the store, with every look. */
const agentWords = ({ agentSilentMs }: PulseMessage): string =>
  agentSilentMs > agentHangsAfterMs ? "its agent hangs (restart the agent)" : "its agent works and is not connected (look at its log)";

const differs = (before: PulseMessage | null, now: PulseMessage): boolean =>
  before !== null && (before.sequence !== now.sequence || before.bootId !== now.bootId);

const words = ({ by, pool }: { by: Host; pool: string }): string =>
  `${by.name} sees its pulse in pool ${pool}, so its network is cut (look at the switch)`;
