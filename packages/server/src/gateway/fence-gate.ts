/**
 * Where the agent of a host that was cut off (or is about to be) waits. It is let in when the fence was taken away, in the store: whatever
 * of its machines was moved elsewhere until then it learns with its first documents, and nothing is moved any more afterwards. Used by the gateway alone.
 */
import { type HostFencing, partKey } from "@sheaf/model";
import { StoreError } from "@sheaf/store";
import { sleep } from "@sheaf/base";
import type { RecordChange } from "../context.ts";
import type { GatewayContext } from "./gateway-context.ts";

interface Knocking {
  readonly hostId: string;
  readonly bootId: string;
  /** Its connection is gone. */
  readonly isClosed: boolean;
  /** Monotonic ms. */
  readonly lastHeardAt: number;
}

const storeAgainMs = 500;
const listenAgainMs = 250;

export class FenceGate {
  readonly #context: Pick<GatewayContext, "store" | "cache" | "clock" | "logger">;
  readonly #wakes = new Map<string, Set<() => void>>();

  constructor(context: Pick<GatewayContext, "store" | "cache" | "clock" | "logger">) {
    this.#context = context;
  }

  /** Resolves when there is no fence, or the connection is gone. */
  async passed(agent: Knocking): Promise<void> {
    const { cache, clock, logger } = this.#context;
    let told = false;
    let seen: HostFencing | undefined;
    let seenAt = Number.NEGATIVE_INFINITY;
    for (;;) {
      const fencing = cache.get("host", agent.hostId)?.status.fencing;
      if (!fencing || agent.isClosed) return;
      if (!told) logger.info({ host: agent.hostId, state: fencing.state }, "the agent of a host that was cut off knocks");
      told = true;
      const { changed, wake } = this.#nextChange(agent.hostId);
      // Its host may have been cut off since it was heard last: a connection that nobody has ended yet knocks for nobody.
      if (seen !== undefined && fencing !== seen) seenAt = clock.monotonic();
      seen = fencing;
      const listening = agent.lastHeardAt > seenAt ? undefined : clock.setTimer(listenAgainMs, wake);
      if (!listening) await this.#knock(agent);
      await changed;
      listening?.cancel();
    }
  }

  /** To be called with every change of a host, and when one of its connections is gone. */
  changed(hostId: string): void {
    const wakes = this.#wakes.get(hostId);
    this.#wakes.delete(hostId);
    for (const wake of wakes ?? []) wake();
  }

  apply({ kind, id }: RecordChange): void {
    if (kind === "host") this.changed(id);
  }

  /** @returns `wake`: ends this wait alone; others may wait for the same host */
  #nextChange(hostId: string): { readonly changed: Promise<void>; readonly wake: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wakes = this.#wakes.get(hostId) ?? new Set();
    wakes.add(resolve);
    this.#wakes.set(hostId, wakes);
    const wake = (): void => {
      wakes.delete(resolve);
      resolve();
    };
    return { changed: promise, wake };
  }

  async #knock({ hostId, bootId, isClosed }: Knocking): Promise<void> {
    const { cache, store, clock } = this.#context;
    const host = cache.get("host", hostId);
    if (!host?.status.fencing || isClosed || host.status.return?.bootId === bootId) return;
    const key = partKey("host", hostId, "status/return");
    try {
      await store.transact({
        compare: [{ key: partKey("host", hostId, "status/fencing"), value: JSON.stringify(host.status.fencing) }],
        then: [{ put: key, value: JSON.stringify({ bootId, at: clock.now() }) }],
      });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // Perhaps written: looked at again.
      await sleep(clock, storeAgainMs);
      this.changed(hostId);
    }
  }
}
