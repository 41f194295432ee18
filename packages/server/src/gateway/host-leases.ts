/**
 * Leases of hosts: what a host that fences itself may go on by, and what servers may conclude from its end (docs/decisions/0014). Used by the
 * gateway alone, for heartbeats and pulses.
 *
 * Three rules make a lease's end certain for any server. One that runs is made longer in memory. One that begins, or whose terms change, is a
 * transaction that fails where the host is being cut off: once such a fence is in the store no lease begins (and where the host is merely
 * held, it is seen). And a server that the store has not answered lately grants nothing, since another one may conclude by now.
 */
import type { LeaseGrant } from "@sheaf/contract";
import { type HostLease, partKey, type RecordOf, watchdogMethod } from "@sheaf/model";
import { StoreError } from "@sheaf/store";
import type { GatewayContext } from "./gateway-context.ts";

/** Less than servers' presence lasts in the store without them. */
const storeCountsForMs = 4000;

type Context = Pick<GatewayContext, "store" | "cache" | "clock" | "logger" | "settings" | "servers">;

interface Granted {
  /** Monotonic ms: what it answered had come. */
  readonly at: number;
  readonly termMs: number;
  /** What stands in the store for it. */
  readonly terms: HostLease | undefined;
}

const nothing = (relied: boolean): LeaseGrant => ({ leaseMs: 0, relied });

export class HostLeases {
  readonly #context: Context;
  readonly #granted = new Map<string, Granted>();
  readonly #asking = new Map<string, Promise<boolean>>();

  constructor(context: Context) {
    this.#context = context;
  }

  /** Monotonic ms of what the last grant answered; `null`: this server has granted none. */
  grantedAt(hostId: string): number | null {
    return this.#granted.get(hostId)?.at ?? null;
  }

  /** The next one begins anew: with each connection, since another server may have changed its terms. */
  forget(hostId: string): void {
    this.#granted.delete(hostId);
  }

  /**
   * A heartbeat's answer: at once, unless the store is to be asked first.
   * @param watchdogMs as the heartbeat has it
   */
  ofHeartbeat(hostId: string, bootId: string, watchdogMs: number | undefined): LeaseGrant | Promise<LeaseGrant> {
    const host = this.#context.cache.get("host", hostId);
    const method = host && watchdogMethod(host.spec.fencing);
    // As it is for all that do not fence themselves: nothing is concluded from such a lease.
    if (!host || (!method && !host.status.lease)) return { leaseMs: this.#context.settings.leaseMs, relied: false };
    const termMs = method?.leaseMs ?? this.#context.settings.leaseMs;
    return this.#grant(host, termMs, method && watchdogMs !== undefined ? this.#terms(host, bootId, termMs, watchdogMs) : undefined);
  }

  /** The host's agent hangs or is being restarted, and its pulse holds the watchdog: the lease goes on, under the terms that it has. */
  ofPulse(hostId: string, bootId: string): LeaseGrant | Promise<LeaseGrant> | null {
    const host = this.#context.cache.get("host", hostId);
    const lease = host?.status.lease;
    const method = host && watchdogMethod(host.spec.fencing);
    if (!host || !lease || !method || lease.bootId !== bootId || lease.incarnation !== this.#context.store.incarnation) return null;
    const { fencing } = host.status;
    // A person wants it off, or nobody hears it well enough: it ends by itself.
    if (fencing && fencing.state !== "held") return null;
    return this.#grant(host, Math.min(method.leaseMs, lease.termMs), lease);
  }

  /** Less than what was promised since this boot is no promise: a longer lease may be under way. */
  #terms(host: RecordOf<"host">, bootId: string, termMs: number, watchdogMs: number): HostLease {
    const { incarnation } = this.#context.store;
    const before = host.status.lease;
    const same = before?.bootId === bootId && before.incarnation === incarnation ? before : { termMs: 0, watchdogMs: 0 };
    return { incarnation, bootId, termMs: Math.max(termMs, same.termMs), watchdogMs: Math.max(watchdogMs, same.watchdogMs) };
  }

  #grant(host: RecordOf<"host">, termMs: number, wanted: HostLease | undefined): LeaseGrant | Promise<LeaseGrant> {
    const { clock, servers } = this.#context;
    const at = clock.monotonic();
    const recorded = host.status.lease;
    if ((servers?.storeSilentMs ?? 0) > storeCountsForMs) return nothing(recorded !== undefined);
    const runs = this.#granted.get(host.id);
    const give = (terms = wanted): LeaseGrant => {
      this.#granted.set(host.id, { at, termMs, terms });
      return { leaseMs: termMs, relied: terms !== undefined };
    };
    if (runs !== undefined && at - runs.at < runs.termMs && JSON.stringify(runs.terms) === JSON.stringify(wanted)) return give();
    const { fencing } = host.status;
    // One that is looked for anew where nothing but its pulse is heard.
    const terms = wanted && fencing ? { ...wanted, begunAt: this.#context.clock.now() } : wanted;
    return this.#begin(host, terms).then((done) => (done ? give(terms) : nothing(recorded !== undefined)));
  }

  /** One question at a time for each host: heartbeats that come meanwhile get no answer of their own. */
  #begin(host: RecordOf<"host">, wanted: HostLease | undefined): Promise<boolean> {
    if (this.#asking.has(host.id)) return Promise.resolve(false);
    const asked = this.#ask(host, wanted).finally(() => this.#asking.delete(host.id));
    this.#asking.set(host.id, asked);
    return asked;
  }

  async #ask(host: RecordOf<"host">, wanted: HostLease | undefined): Promise<boolean> {
    const { store, logger } = this.#context;
    const key = partKey("host", host.id, "status/lease");
    const { lease, fencing } = host.status;
    const fenceKey = partKey("host", host.id, "status/fencing");
    const changed = JSON.stringify(wanted) !== JSON.stringify(lease);
    try {
      const { succeeded } = await store.transact({
        compare: [
          fencing?.state === "held" ? { key: fenceKey, value: JSON.stringify(fencing) } : { key: fenceKey, modRevision: 0 },
          lease === undefined ? { key, modRevision: 0 } : { key, value: JSON.stringify(lease) },
        ],
        then: changed ? [wanted === undefined ? { delete: key } : { put: key, value: JSON.stringify(wanted) }] : [],
      });
      if (succeeded && changed)
        logger.info({ host: host.name, ...wanted }, wanted === undefined ? "a host does not fence itself any more" : "a host fences itself");
      return succeeded;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // Perhaps done: the next heartbeat sees.
      logger.debug({ host: host.name, error: String(error) }, "a host's lease could not be begun");
      return false;
    }
  }
}
