/**
 * Since when this server has listened to the agents without a gap. A process that was paused (SIGSTOP, a suspended machine, a blocked event
 * loop) has heard nobody meanwhile: silence counts only from its return. Shared by the liveness and fencing controllers.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";

const tickMs = 500;
/** A timer that comes this late was not merely busy. */
const pausedAfterMs = 2000;

export class Listening {
  #since: number;
  #ticking: Timer | undefined;
  #users = 0;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
    this.#since = clock.monotonic();
  }

  /** Monotonic ms. */
  get since(): number {
    return this.#since;
  }

  /** Called when this server begins to lead; @returns how it ends */
  begin(): () => void {
    this.#users += 1;
    if (this.#users === 1) {
      this.#since = this.#clock.monotonic();
      this.#tick();
    }
    return () => {
      this.#users -= 1;
      if (this.#users === 0) this.#ticking?.cancel();
    };
  }

  #tick(): void {
    const due = this.#clock.monotonic() + tickMs;
    this.#ticking = this.#clock.setTimer(tickMs, () => {
      const lateMs = this.#clock.monotonic() - due;
      if (lateMs > pausedAfterMs) {
        this.#since = this.#clock.monotonic();
        this.#logger.warn({ lateMs: Math.round(lateMs) }, "this server was paused: the silence of hosts counts from now on");
      }
      this.#tick();
    });
  }
}
