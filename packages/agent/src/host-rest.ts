/**
 * The host is to sleep: its agent makes sure that nothing runs, starts nothing from then on, and shuts the host down where systemd can be asked. What
 * it has said holds for a while: a server that cuts the power afterwards asks again just before. A new boot begins awake. Held by the agent.
 */
import type { Clock, Logger } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import type { Files, Hypervisor, Processes } from "./ports.ts";

export interface HostRestOptions {
  readonly bootId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly processes: Processes;
  readonly hypervisor: Pick<Hypervisor, "domains">;
  /** Resolves when whatever is being done with machines has ended. */
  readonly settled: () => Promise<void>;
  /** Machines may start again. */
  readonly over: () => void;
}

/** Long enough for a device to cut the power. */
const quietMs = 120_000;
/** For a host that shuts itself down; one that does not come to an end of it is at work again afterwards. */
const quietWhileShuttingDownMs = 900_000;
const shutdownCallMs = 15_000;
/** There where systemd is the init of this system: sd_booted(3). */
const systemdMark = "/run/systemd/system";

export class HostRest {
  readonly #options: HostRestOptions;
  #quietUntil = Number.NEGATIVE_INFINITY;
  #shutsDown = false;

  constructor(options: HostRestOptions) {
    this.#options = options;
  }

  /** Nothing is started. */
  get quiet(): boolean {
    return this.#options.clock.monotonic() < this.#quietUntil;
  }

  /** @throws SheafError `state-refused` while the host is about to sleep */
  mustBeAwake(): void {
    if (this.quiet) throw new SheafError("state-refused", "This host is about to sleep.", { next: "Choose another host." });
  }

  /** @throws SheafError `state-refused` where anything runs, or the host has booted since */
  async fallAsleep(bootId: string): Promise<{ shutsDown: boolean }> {
    const { hypervisor, logger, settled } = this.#options;
    if (bootId !== this.#options.bootId) throw new SheafError("state-refused", "This host has booted since it was asked to sleep.");
    this.#beQuiet(quietMs);
    try {
      // What had begun before is seen among the domains now.
      await settled();
      const active = (await hypervisor.domains()).filter(({ state }) => state !== "stopped" && state !== "crashed");
      const [first] = active;
      if (first) {
        const others = active.length > 1 ? ` and ${active.length - 1} more` : "";
        throw new SheafError("state-refused", `This host does not sleep: ${first.name}${others} runs here.`, {
          next: "Empty it first: sheaf host drain.",
        });
      }
    } catch (error) {
      this.#quietUntil = Number.NEGATIVE_INFINITY;
      this.#options.over();
      throw error;
    }
    this.#shutsDown ||= await this.#shutDown();
    this.#beQuiet(this.#shutsDown ? quietWhileShuttingDownMs : quietMs);
    logger.info({ shutsDown: this.#shutsDown }, "the host is to sleep: nothing is started here any more");
    return { shutsDown: this.#shutsDown };
  }

  #beQuiet(forMs: number): void {
    const { clock, over } = this.#options;
    this.#quietUntil = clock.monotonic() + forMs;
    clock.setTimer(forMs, () => {
      if (this.quiet) return;
      this.#shutsDown = false;
      over();
    });
  }

  async #shutDown(): Promise<boolean> {
    const { files, logger, processes } = this.#options;
    if (!(await files.facts(systemdMark))?.directory) return false;
    try {
      const { exitCode, errorOutput } = await processes.run("systemctl", ["poweroff"], { deadlineMs: shutdownCallMs });
      if (exitCode === 0) return true;
      logger.warn({ exitCode, reason: errorOutput.trim().slice(0, 300) }, "the host could not be shut down by its agent");
    } catch (error) {
      logger.warn({ reason: String(error) }, "the host could not be shut down by its agent");
    }
    return false;
  }
}
