/**
 * Holds the host's watchdog and pets it while the lease runs, or nothing is at risk. Part of the pulse, so that the agent can be restarted,
 * updated, or hang, without the host being reset: the pulse is given the lease's end by the agent, and longer ones by the server. It never
 * decides anything about machines, and never pets after the end of the lease it knows of.
 */
import type { LeaseGrant } from "@sheaf/contract";
import type { WatchdogObservation } from "@sheaf/model";
import type { Logger } from "@sheaf/base";
import { type AgentLease, LeaseFiles } from "./lease-files.ts";
import type { Files, OpenWatchdog, Processes, Watchdogs } from "./ports.ts";
import { setWatchdogTimeout, watchdogDevice, type WatchdogDevice, watchdogDevices, watchdogPath } from "./watchdog-devices.ts";

export interface WatchdogKeeperOptions {
  readonly logger: Logger;
  readonly files: Pick<Files, "readText" | "writeAtomic" | "makeDirectory" | "list">;
  readonly processes: Processes;
  readonly watchdogs: Watchdogs;
  /** Ms since the host booted, time asleep included. */
  readonly sinceBoot: () => number;
  readonly hostId: string;
  readonly bootId: string;
}

/** A device that is taken may be free later. */
const tryAgainMs = 10_000;

const killOnly = "self-fencing: kill only, a person must confirm";

export class WatchdogKeeper {
  readonly #options: WatchdogKeeperOptions;
  readonly #leases: LeaseFiles;
  #agent: AgentLease | null = null;
  #ownEndMs = 0;
  #open: { readonly device: WatchdogDevice; readonly handle: OpenWatchdog } | null = null;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #why = "";
  #starving = false;

  constructor(options: WatchdogKeeperOptions) {
    this.#options = options;
    this.#leases = new LeaseFiles(options);
  }

  /** Of the server: the lease is made longer although the agent says nothing. */
  granted(sentAtMs: number, grant: LeaseGrant): void {
    if (grant.leaseMs > 0) this.#ownEndMs = Math.max(this.#ownEndMs, sentAtMs + grant.leaseMs);
  }

  get wanted(): boolean {
    return typeof this.#agent?.watchdogTimeoutMs === "number";
  }

  /** The server that the agent talks to, where the lease is known. */
  get server(): string | undefined {
    return this.#agent?.server;
  }

  /** To be called every half second while a watchdog is wanted. */
  async look(): Promise<void> {
    const { sinceBoot } = this.#options;
    // What was read before stays where the file is gone: the lease ends all the same.
    this.#agent = (await this.#leases.agent()) ?? this.#agent;
    const agent = this.#agent;
    if (agent === null) return;
    if (agent.watchdogTimeoutMs === null) return this.#disarm("no watchdog is wanted any more");
    if (this.#open === null && sinceBoot() - this.#triedAtMs >= tryAgainMs) await this.#arm(agent.watchdogTimeoutMs);
    this.#pet(agent);
    await this.#leases.writePulse({ atMs: sinceBoot(), leaseEndMs: this.#ownEndMs, watchdog: this.#observation() });
  }

  /** The pulse ends. A host at risk stays under its watchdog: the next pulse has its timeout to open it anew. */
  end(): void {
    if (this.#open === null) return;
    if (this.#agent?.atRisk === true) {
      this.#options.logger.warn({ device: this.#open.device.name }, "the pulse ends while machines rely on the watchdog: it stays armed");
      return;
    }
    this.#disarm("the pulse ends");
  }

  #pet(agent: AgentLease): void {
    const open = this.#open;
    if (open === null) return;
    const { sinceBoot, logger } = this.#options;
    const endMs = Math.max(agent.leaseEndMs, this.#ownEndMs);
    // Nothing may come between this look at the clock and the write.
    const mayPet = !agent.atRisk || sinceBoot() < endMs;
    try {
      if (mayPet) open.handle.pet();
    } catch (error) {
      logger.error({ device: open.device.name, reason: String(error) }, "the watchdog could not be petted");
      open.handle.abandon();
      this.#open = null;
      this.#why = `${watchdogPath(open.device)} could not be written to`;
    }
    if (mayPet === this.#starving)
      logger.warn(
        { device: open.device.name, timeoutMs: open.device.timeoutMs },
        mayPet ? "the watchdog is petted again" : "the lease is over and machines may still run: the watchdog is not petted any more",
      );
    this.#starving = !mayPet;
  }

  async #arm(timeoutMs: number): Promise<void> {
    const { files, processes, watchdogs, logger, sinceBoot } = this.#options;
    this.#triedAtMs = sinceBoot();
    this.#why = "there is no watchdog device";
    for (const device of await watchdogDevices(files)) {
      await setWatchdogTimeout(processes, device, timeoutMs);
      try {
        const handle = watchdogs.open(watchdogPath(device));
        // As it is now: drivers round, and some do not let it be set.
        this.#open = { device: await watchdogDevice(files, device.name), handle };
        logger.info({ ...this.#open.device }, "the watchdog is armed");
        return;
      } catch (error) {
        this.#why = `${watchdogPath(device)} cannot be opened (${error instanceof Error ? error.message : String(error)}): does another program hold it, such as systemd by RuntimeWatchdogSec?`;
        logger.warn({ device: device.name, reason: String(error) }, "a watchdog cannot be opened");
      }
    }
  }

  #disarm(why: string): void {
    const open = this.#open;
    if (open === null) return;
    this.#open = null;
    open.handle.disarm();
    this.#options.logger.info({ device: open.device.name, why }, "the watchdog is disarmed");
  }

  #observation(): WatchdogObservation {
    if (this.#open === null) return { kind: "none", meaning: `${killOnly}: ${this.#why}` };
    const { name, identity, hardware, timeoutMs } = this.#open.device;
    const facts = { device: watchdogPath({ name }), identity, timeoutMs };
    if (!hardware || timeoutMs === 0)
      return { kind: "software", ...facts, meaning: `${killOnly}: ${identity} is part of the kernel, and a kernel that hangs does not reset itself` };
    return { kind: "hardware", ...facts, meaning: `self-fencing: ${identity} resets this host ${timeoutMs / 1000} s after it was petted last` };
  }
}
