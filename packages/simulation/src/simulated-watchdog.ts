/**
 * The watchdog of a simulated host: a timer outside of its kernel that resets it, or one of the kernel's own. Armed when it is opened; what a
 * process that holds it leaves behind stays armed, unless it said that it need not. Its time is the hardware's, whatever the host's clock does.
 */
import type { OpenWatchdog, Watchdogs } from "@sheaf/agent";
import type { Clock, Timer } from "@sheaf/base";
import type { Life } from "./life.ts";

export type WatchdogKind = "hardware" | "software";

export interface SimulatedWatchdogOptions {
  readonly kind: WatchdogKind | null;
  readonly clock: Clock;
  /** It was not petted in time. */
  readonly fired: () => void;
}

const timeoutSeconds = 10;
const name = "watchdog0";

export class SimulatedWatchdog {
  readonly #options: SimulatedWatchdogOptions;
  #timer: Timer | null = null;
  #holder: Life | null = null;

  constructor(options: SimulatedWatchdogOptions) {
    this.#options = options;
  }

  /** What the kernel tells of it. */
  get files(): Record<string, string> {
    const { kind } = this.#options;
    if (kind === null) return {};
    const identity = kind === "hardware" ? "iTCO_wdt" : "Software Watchdog";
    return { [`/sys/class/watchdog/${name}/identity`]: `${identity}\n`, [`/sys/class/watchdog/${name}/timeout`]: `${timeoutSeconds}\n` };
  }

  /** As one process of the host has it. */
  port(life: Life): Watchdogs {
    return { open: (path) => this.#open(path, life) };
  }

  /** The host's power goes. */
  powerCycle(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#holder = null;
  }

  #open(path: string, life: Life): OpenWatchdog {
    if (this.#options.kind === null || path !== `/dev/${name}`) throw new Error(`ENOENT: ${path}`);
    if (this.#holder?.alive === true) throw new Error(`EBUSY: ${path}`);
    this.#holder = life;
    this.#arm();
    const leave = (): void => {
      if (this.#holder === life) this.#holder = null;
    };
    return {
      pet: () => {
        // A process that is dead writes nothing.
        if (life.alive && this.#holder === life) this.#arm();
      },
      disarm: () => {
        if (life.alive && this.#holder === life) this.#timer?.cancel();
        leave();
      },
      abandon: leave,
    };
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.setTimer(timeoutSeconds * 1000, () => {
      this.powerCycle();
      this.#options.fired();
    });
  }
}
