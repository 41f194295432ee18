/** Keeps the telemetry files in order while the server runs: what is over goes to the disk every few seconds. Made by the start-up code. */
import type { Clock, Logger } from "@sheaf/base";
import { Counter, Gauge, type Registry } from "prom-client";
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
  #failures = 0;

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

  /** Its own figures, for `/metrics`. */
  expose(registry: Registry): void {
    const { telemetry } = this;
    const registers = [registry];
    const failures = (): number => this.#failures;
    new Gauge({
      name: "sheaf_telemetry_disk_bytes",
      help: "Files of figures over time",
      registers,
      collect() {
        this.set(telemetry.bytes);
      },
    });
    new Gauge({
      name: "sheaf_telemetry_members",
      help: "Hosts and machines of which figures came within a day",
      registers,
      collect() {
        this.set(telemetry.counts.members);
      },
    });
    new Counter({
      name: "sheaf_telemetry_rows_total",
      help: "Rows of hosts and machines that agents told",
      registers,
      collect() {
        this.reset();
        this.inc(telemetry.counts.rows);
      },
    });
    new Counter({
      name: "sheaf_telemetry_write_failures_total",
      help: "Times that figures could not be written to the disk, and were tried again",
      registers,
      collect() {
        this.reset();
        this.inc(failures());
      },
    });
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
      this.#failures += 1;
    }
  }
}
