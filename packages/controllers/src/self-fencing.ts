/**
 * Whether a host has fenced itself by now: its lease has ended for certain, and a hardware watchdog would have reset it since. Asked by the
 * fencing controller for the method `watchdog`. The store says what servers rely on (the host's part `status/lease`); when it was renewed
 * last is what any server heard, and is counted anew by each server that begins to lead.
 */
import { type HostLease, type RecordOf, selfFencedAfterMs } from "@sheaf/model";
import type { ControllerContext } from "./context.ts";
import type { Listening } from "./listening.ts";

type Host = RecordOf<"host">;

export type SelfFence =
  | { readonly state: "counts-not"; readonly why: string }
  | { readonly state: "runs"; readonly leftMs: number }
  | { readonly state: "over" };

export class SelfFencing {
  readonly #context: ControllerContext;
  readonly #listening: Listening;
  /** Since when this server has seen that a host is being cut off, or held, under the same lease: none has begun since. Monotonic ms. */
  readonly #seen = new Map<string, { readonly at: number; readonly lease: string }>();

  constructor(context: ControllerContext, listening: Listening) {
    this.#context = context;
    this.#listening = listening;
  }

  /** This server begins to lead: what an earlier time of it saw counts for nothing. */
  begin(): void {
    this.#seen.clear();
  }

  /** To be called with every look at a host. */
  look({ id, status }: Pick<Host, "id" | "status">): void {
    const lease = JSON.stringify(status.lease ?? null);
    if (!status.fencing) this.#seen.delete(id);
    else if (this.#seen.get(id)?.lease !== lease) this.#seen.set(id, { at: this.#context.clock.monotonic(), lease });
  }

  of(host: Host): SelfFence {
    const { agents, clock } = this.#context;
    const lease = this.#counting(host);
    if (lease === null) return { state: "counts-not", why: whyNot(host) };
    const heardAt = Math.max(
      this.#seen.get(host.id)?.at ?? clock.monotonic(),
      this.#listening.since,
      agents.lastHeardAt(host.id) ?? Number.NEGATIVE_INFINITY,
      agents.pulse(host.id)?.grantedAt ?? Number.NEGATIVE_INFINITY,
    );
    const leftMs = heardAt + selfFencedAfterMs(lease) - clock.monotonic();
    return leftMs > 0 ? { state: "runs", leftMs } : { state: "over" };
  }

  /** A lease of another life of the store is one whose terms may have changed since. */
  #counting({ status }: Host): HostLease | null {
    const { lease } = status;
    return lease?.incarnation === this.#context.store.incarnation ? lease : null;
  }
}

function whyNot({ status }: Host): string {
  if (status.lease) return "the store was restored from a backup, and this host has not been heard since";
  return `it cannot be relied on: ${status.agent?.watchdog?.meaning ?? "this host has not told of a hardware watchdog"}`;
}
