/**
 * The lease of this host, and what follows from its end where the host is to fence itself (fencing method `watchdog`): machines that may
 * start elsewhere are stopped here. Each grant counts from when the agent *sent* what it answers, so that the end here is before the end that
 * any server counts with. Made by `agent.ts`; fed by the link. Machines' own reconcilers start nothing while it is over.
 *
 * While servers rely on it (`relied`), everything of Sheaf's is stopped, whatever is known here of high availability: that may have changed
 * meanwhile. A hardware watchdog resets the host where that does not succeed. Else only highly available machines are stopped.
 */
import type { Logger } from "@sheaf/base";
import type { LeaseGrant } from "@sheaf/contract";
import { type RecordOf, type WatchdogObservation, watchdogMethod } from "@sheaf/model";
import type { KeptState } from "./kept-state.ts";
import { leaseLookMs, LeaseFiles, pulseCountsForMs, type PulseLease } from "./lease-files.ts";
import { type Domain, type Files, type Hypervisor, HypervisorError } from "./ports.ts";

export interface SelfFenceOptions {
  readonly hostId: string;
  readonly bootId: string;
  readonly logger: Logger;
  readonly files: Pick<Files, "readText" | "writeAtomic" | "makeDirectory">;
  readonly hypervisor: Pick<Hypervisor, "domains" | "destroy" | "start">;
  readonly kept: KeptState;
  /** Ms since the host booted, time asleep included. */
  readonly sinceBoot: () => number;
  readonly within: <T>(work: Promise<T>, limitMs: number, what: string) => Promise<T>;
  readonly server: () => string;
  /** Machines may start again, or the host has to tell of another watchdog. */
  readonly changed: (what: "lease" | "watchdog") => void;
}

const askLimitMs = 2000;

export class SelfFence {
  readonly #options: SelfFenceOptions;
  readonly #leases: LeaseFiles;
  #endMs = 0;
  /** Of hosts that do not fence themselves. */
  #usualMs = 0;
  #relied = false;
  #pulse: PulseLease | null = null;
  #held = false;
  /** Of the last look after the lease's end: all that has to be stopped is. */
  #stopped = false;
  /**
   * The lease has ended: the host may have counted as cut off since, and what is kept of machines is older than that. A new lease alone, such
   * as the pulse may get before the agent is back, starts nothing. The agent's own does, once the connection's sync is through: no fence ends
   * without a new connection, and no lease begins under one.
   */
  #outdated = false;
  /** The sync of the present connection is on the disk. */
  #synced = false;
  /** Starts that may still come about. */
  readonly #starting = new Set<string>();
  #written = "";

  private constructor(options: SelfFenceOptions) {
    this.#options = options;
    this.#leases = new LeaseFiles(options);
  }

  /** An agent that was restarted has the lease of the one before. */
  static async open(options: SelfFenceOptions): Promise<SelfFence> {
    const fence = new SelfFence(options);
    const before = await fence.#leases.agent();
    fence.#endMs = before?.leaseEndMs ?? 0;
    fence.#relied = before?.relied ?? false;
    // Whether the pulse's lease went on from there, or began anew, cannot be told.
    fence.#outdated = before !== null && options.sinceBoot() >= before.leaseEndMs;
    fence.#pulse = await fence.#leases.pulse();
    return fence;
  }

  get #method() {
    const { kept, hostId } = this.#options;
    return watchdogMethod(kept.document("host", hostId)?.spec.fencing ?? []);
  }

  get holds(): boolean {
    return this.#options.sinceBoot() < Math.max(this.#endMs, this.#pulse?.leaseEndMs ?? 0);
  }

  /** Machines that may run elsewhere by now may start here: the lease runs, and the server has said what belongs here since the last one ended. */
  get mayStart(): boolean {
    return this.holds && !this.#outdated;
  }

  /** Everything of Sheaf's runs only while the lease does, not only what is highly available. */
  get forAll(): boolean {
    return this.#relied;
  }

  /** The pulse must not end with the agent. */
  get guards(): boolean {
    return this.#relied || (this.#method !== undefined && this.#anyHighlyAvailable());
  }

  /** As the host tells of it; `undefined`: it is not to fence itself. */
  get watchdog(): WatchdogObservation | undefined {
    if (!this.#method) return undefined;
    return this.#freshPulse()?.watchdog ?? { kind: "none", meaning: "self-fencing: kill only, a person must confirm: the pulse does not run" };
  }

  /** What the next heartbeat promises; from here on it is kept. */
  async promise(): Promise<number | undefined> {
    const watchdog = this.#freshPulse()?.watchdog;
    if (!this.#method || watchdog?.kind !== "hardware" || watchdog.timeoutMs === undefined || !this.#anyHighlyAvailable()) return undefined;
    this.#relied = true;
    return (await this.#tryWrite()) ? watchdog.timeoutMs : undefined;
  }

  welcomed(sentAtMs: number, leaseMs: number): void {
    this.#usualMs = leaseMs;
    if (!this.#method && !this.#relied) this.#endMs = Math.max(this.#endMs, sentAtMs + leaseMs);
  }

  /** What the server sent after its welcome is on the disk. */
  synced(): void {
    this.#synced = true;
    this.#settle();
  }

  disconnected(): void {
    this.#synced = false;
  }

  #settle(): void {
    if (this.#synced && this.#options.sinceBoot() < this.#endMs) this.#outdated = false;
  }

  /** Before anything makes the lease longer: one that has ended and begun anew looks like one that never ended. */
  #noticeEnd(): void {
    if ((this.#method || this.#relied) && !this.holds) this.#outdated = true;
  }

  /** @param promised what the heartbeat had that this answers */
  async granted(sentAtMs: number, grant: LeaseGrant | null, promised: number | undefined): Promise<void> {
    this.#noticeEnd();
    const { mayStart } = this;
    // A server of the version before knows nothing of what was promised to others.
    const usual = { leaseMs: this.#method || this.#relied ? 0 : this.#usualMs, relied: this.#relied };
    const { leaseMs, relied } = grant ?? usual;
    if (promised === undefined && !relied) this.#relied = false;
    if (leaseMs > 0) {
      this.#endMs = Math.max(this.#endMs, sentAtMs + leaseMs);
      this.#stopped = false;
    }
    this.#settle();
    await this.#tryWrite();
    if (this.mayStart && !mayStart) this.#options.changed("lease");
  }

  /** A start that was planned under a lease that is over is not made. */
  async start(vm: RecordOf<"vm">, paused: boolean): Promise<void> {
    if (!this.mayStart && (vm.spec.highlyAvailable || this.#relied)) throw new Error("the host's lease has ended");
    this.#starting.add(vm.id);
    try {
      await this.#options.hypervisor.start(vm.id, { paused });
      this.#starting.delete(vm.id);
    } catch (error) {
      // Of any other one it is not known whether it still comes about.
      if (error instanceof HypervisorError && (error.kind === "refused" || error.kind === "unknown-domain")) this.#starting.delete(vm.id);
      throw error;
    }
  }

  /** @returns when to look again; nothing: when the host's document changes */
  async look(): Promise<{ againAfterMs: number } | undefined> {
    try {
      await this.#lookOnce();
    } catch (error) {
      // What cannot be written keeps the watchdog from being petted.
      this.#options.logger.error({ reason: String(error) }, "the host's lease could not be looked after");
    }
    return this.#method || this.#relied ? { againAfterMs: leaseLookMs } : undefined;
  }

  async #lookOnce(): Promise<void> {
    if (!this.#method && !this.#relied) return this.#write();
    this.#noticeEnd();
    const before = this.watchdog;
    this.#pulse = await this.#leases.pulse();
    if (this.watchdog?.meaning !== before?.meaning) this.#options.changed("watchdog");
    const { holds } = this;
    if (holds && !this.#held) this.#options.changed("lease");
    if (!holds && this.#held)
      this.#options.logger.warn({ relied: this.#relied }, "the host's lease is over: what may start elsewhere is stopped here");
    this.#held = holds;
    this.#stopped = holds ? false : await this.#stopAll();
    await this.#write();
  }

  /** @returns whether nothing runs any more that has to be stopped */
  async #stopAll(): Promise<boolean> {
    const { hypervisor, within, logger } = this.#options;
    const running = async (): Promise<Domain[]> =>
      (await within(hypervisor.domains(), askLimitMs, "the hypervisor does not answer")).filter(
        (domain) => isActive(domain) && this.#concerns(domain),
      );
    try {
      const found = await running();
      await Promise.all(
        found.map(async ({ uuid, name }) => {
          logger.warn({ vm: name }, "a machine is stopped: the host's lease is over, and it may start elsewhere");
          await within(hypervisor.destroy(uuid), askLimitMs, "it does not end").catch((error: unknown) =>
            logger.error({ vm: name, reason: String(error) }, "a machine could not be stopped"),
          );
        }),
      );
      return this.#starting.size === 0 && (found.length === 0 || (await running()).length === 0);
    } catch (error) {
      logger.error({ reason: String(error) }, "machines could not be stopped");
      return false;
    }
  }

  #concerns({ uuid, mark }: Domain): boolean {
    if (!mark) return false;
    if (this.#relied) return true;
    const vm = this.#options.kept.document("vm", uuid);
    return vm !== undefined && this.#mayRunElsewhere(vm);
  }

  /** Highly available, and all its disks can be reached by others. */
  #mayRunElsewhere({ spec }: RecordOf<"vm">): boolean {
    const { kept } = this.#options;
    const isLocal = (volumeId: string): boolean => {
      const volume = kept.document("volume", volumeId);
      return volume !== undefined && kept.document("pool", volume.spec.pool)?.spec.type === "local";
    };
    return spec.highlyAvailable && !spec.disks.some(({ volume }) => volume !== undefined && isLocal(volume));
  }

  #anyHighlyAvailable(): boolean {
    const { kept, hostId } = this.#options;
    if (this.#starting.size > 0) return true;
    for (const vm of kept.documents("vm")) if (vm.spec.highlyAvailable && vm.placement?.host === hostId) return true;
    return false;
  }

  #freshPulse(): PulseLease | null {
    const pulse = this.#pulse;
    return pulse !== null && this.#options.sinceBoot() - pulse.atMs < pulseCountsForMs ? pulse : null;
  }

  async #tryWrite(): Promise<boolean> {
    try {
      await this.#write();
      return true;
    } catch (error) {
      this.#options.logger.error({ reason: String(error) }, "the pulse could not be told of the host's lease");
      return false;
    }
  }

  /** Before anything that depends on it: the pulse pets by what stands there. */
  async #write(): Promise<void> {
    const method = this.#method;
    // A host that is not to fence itself, and never was since its boot, has no file.
    if (!method && !this.#relied && this.#written === "") return;
    const wanted = method !== undefined || this.#relied;
    const lease = {
      watchdogTimeoutMs: wanted ? (method?.watchdogTimeoutMs ?? defaultTimeoutMs) : null,
      atRisk: wanted && !this.#stopped && (this.#relied || this.#anyHighlyAvailable()),
      relied: this.#relied,
      leaseEndMs: this.#endMs,
      server: this.#options.server(),
    };
    const text = JSON.stringify(lease);
    if (text === this.#written) return;
    await this.#leases.writeAgent(lease);
    this.#written = text;
  }
}

/** The method was taken from the host's document, and servers have not said yet that they do not rely on it. */
const defaultTimeoutMs = 30_000;

const isActive = ({ state }: Domain): boolean => state !== "stopped" && state !== "crashed";
