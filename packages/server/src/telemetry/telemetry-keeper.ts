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
    const gauge = (name: string, help: string, value: () => number): Gauge =>
      new Gauge({
        ...{ name, help, registers },
        collect() {
          this.set(value());
        },
      });
    const counter = (name: string, help: string, value: () => number): Counter =>
      new Counter({
        ...{ name, help, registers },
        collect() {
          this.reset();
          this.inc(value());
        },
      });
    gauge("sheaf_telemetry_disk_bytes", "Files of figures over time", () => telemetry.bytes);
    gauge("sheaf_telemetry_members", "Hosts and machines of which figures came within a day", () => telemetry.counts.members);
    counter("sheaf_telemetry_rows_total", "Rows of hosts and machines that agents told", () => telemetry.counts.rows);
    counter(
      "sheaf_telemetry_write_failures_total",
      "Times that figures could not be written to the disk, and were tried again",
      () => this.#failures,
    );
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
