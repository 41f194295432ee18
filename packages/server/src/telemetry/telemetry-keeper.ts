/** Keeps the telemetry files in order while the server runs: what is over goes to the disk every few seconds. Made by the start-up code. */
import type { Clock, Logger } from "@sheaf/base";
import { Telemetry, type TelemetryOptions } from "@sheaf/telemetry";
import { lookEvery } from "../servers/look-every.ts";

const keepEveryMs = 5000;

export class TelemetryKeeper {
  readonly telemetry: Telemetry;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #looks: { cancel(): void };
  #work: Promise<void> = Promise.resolve();
  /** Said once for all failures in a row. */
  #failing = false;

  private constructor(telemetry: Telemetry, clock: Clock, logger: Logger) {
    this.telemetry = telemetry;
    this.#clock = clock;
    this.#logger = logger;
    let running = false;
    this.#looks = lookEvery(clock, keepEveryMs, () => {
      if (running) return;
      running = true;
      this.#work = this.#keep().finally(() => (running = false));
    });
  }

  static async start(options: TelemetryOptions & { readonly clock: Clock }): Promise<TelemetryKeeper> {
    const { clock, logger } = options;
    return new TelemetryKeeper(await Telemetry.open(options, clock.now()), clock, logger);
  }

  /** What is not on the disk yet, agents tell again. */
  async stop(): Promise<void> {
    this.#looks.cancel();
    await this.#work;
    await this.telemetry.close();
  }

  async #keep(): Promise<void> {
    try {
      await this.telemetry.keep(this.#clock.now());
      this.#failing = false;
    } catch (error) {
      if (!this.#failing)
        this.#logger.error({ error: String(error) }, "figures over time cannot be written: it is tried again; look at the disk of the data folder");
      this.#failing = true;
    }
  }
}
