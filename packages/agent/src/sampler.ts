/**
 * Samples the host and its machines every 10 s, on the clock's tens of seconds, and tells the server: what was not acknowledged before,
 * oldest first, a few rows at a time. Begins when a server has said that it keeps samples, or when the disk has some that wait for one;
 * goes on while the host is cut off. Made by the agent.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import type { SampleBatch, SampleRow } from "@sheaf/contract";
import { figuresInOrder, hostMetricNames, vmMetricNames } from "@sheaf/model";
import { GuestMeter } from "./guest-meter.ts";
import { HostMeter } from "./host-figures.ts";
import type { Files } from "./ports.ts";
import { SampleShelf } from "./sample-shelf.ts";
import type { StatisticsReader } from "./statistics-reader.ts";

export interface SamplerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Files;
  readonly statistics: Pick<StatisticsReader, "read">;
  readonly dataDirectory: string;
  /** Machines of this agent: others' figures are not told. */
  readonly isOurs: (uuid: string) => boolean;
  readonly send: (batch: SampleBatch) => void;
  /** It samples for `newest` alone, too. */
  readonly always?: boolean;
}

const sampleMs = 10_000;
/** Of what has gathered, with every sample: thousands of hosts that come back at once are not more than a server can take. */
const rowsAtOnce = 12;

export class Sampler {
  readonly #options: SamplerOptions;
  readonly #shelf: SampleShelf;
  readonly #host: HostMeter;
  readonly #guests: GuestMeter;
  #timer: Timer | null = null;
  #running = false;
  /** `null`: no server that wants them. */
  #toldUpTo: number | null = null;
  /** Rows are put by for a server: one has said that it keeps them, and none since that it does not. */
  #keeping: boolean;
  #newest: SampleRow | null = null;
  #lastSlot = -1;
  #work: Promise<void> = Promise.resolve();

  private constructor(options: SamplerOptions, shelf: SampleShelf) {
    this.#options = options;
    this.#shelf = shelf;
    this.#host = new HostMeter(options.files);
    this.#guests = new GuestMeter(options.statistics);
    this.#keeping = !shelf.isEmpty;
  }

  static async open(options: SamplerOptions): Promise<Sampler> {
    const { files, logger, dataDirectory } = options;
    const sampler = new Sampler(options, await SampleShelf.open({ files, logger, path: `${dataDirectory}/samples.log` }));
    if (sampler.#keeping || options.always === true) sampler.#start();
    return sampler;
  }

  /** `null`: not sampled yet. */
  get newest(): SampleRow | null {
    return this.#newest;
  }

  /** A server has welcomed the agent. @param keeps it wants samples: all that no server has acknowledged */
  welcomed(keeps: boolean): void {
    this.#toldUpTo = keeps ? -1 : null;
    this.#keeping = keeps;
    if (keeps) this.#start();
  }

  disconnected(): void {
    this.#toldUpTo = null;
  }

  /** All up to this slot is on the server's disk. */
  acknowledged(slot: number): Promise<void> {
    return this.#inTurn(() => this.#shelf.drop(slot));
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#timer?.cancel();
    await this.#work;
    await this.#shelf.close();
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#next();
  }

  #next(): void {
    const { clock } = this.#options;
    if (this.#running)
      this.#timer = clock.setTimer(sampleMs - (clock.now() % sampleMs), () => void this.#inTurn(() => this.#sample()).then(() => this.#next()));
  }

  async #sample(): Promise<void> {
    const { clock, isOurs, send } = this.#options;
    const slot = Math.floor(clock.now() / sampleMs);
    // The clock was put back: these times are told already.
    if (slot <= this.#lastSlot) return;
    const nowMs = clock.monotonic();
    const [host, guests] = await Promise.all([this.#host.read(nowMs), this.#guests.read()]);
    this.#lastSlot = slot;
    const vms = [...guests].filter(([id]) => isOurs(id)).map(([id, figures]) => ({ id, figures: figuresInOrder("vm", figures) }));
    const row: SampleRow = { slot, host: figuresInOrder("host", host), vms };
    this.#newest = row;
    if (this.#keeping) await this.#shelf.put(row);
    if (this.#toldUpTo === null) return;
    const rows = this.#shelf.after(this.#toldUpTo, rowsAtOnce);
    this.#toldUpTo = rows.at(-1)?.slot ?? this.#toldUpTo;
    send({ hostMetrics: hostMetricNames, vmMetrics: vmMetricNames, rows });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const run = this.#work
      .then(work)
      .catch((error: unknown) => this.#options.logger.warn({ reason: String(error) }, "samples could not be taken or kept"));
    this.#work = run;
    return run;
  }
}
