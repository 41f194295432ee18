/**
 * The hypervisor's statistics of all machines, and how busy the host's CPUs have been, read together: one call for whoever asks within the same
 * interval, so that heartbeats and samples tell of one and the same reading. Made by the agent.
 */
import type { Clock } from "@sheaf/base";
import type { DomainStatistics, Files, Hypervisor } from "./ports.ts";

export interface StatisticsReading {
  /** Monotonic ms. */
  readonly atMs: number;
  readonly domains: readonly DomainStatistics[];
  /** Ticks since the host's boot. */
  readonly busyTicks: number;
  readonly totalTicks: number;
}

export interface StatisticsReaderOptions {
  readonly clock: Clock;
  readonly files: Pick<Files, "readText">;
  readonly hypervisor: Pick<Hypervisor, "statistics">;
}

export class StatisticsReader {
  readonly #options: StatisticsReaderOptions;
  #newest: StatisticsReading | null = null;
  #underWay: Promise<StatisticsReading | null> | null = null;

  constructor(options: StatisticsReaderOptions) {
    this.#options = options;
  }

  /**
   * @param maximumAgeMs a reading that is not older will do, and one that is under way always
   * @returns `null` while the hypervisor does not answer: the next reading is then compared with the last that there was
   */
  read(maximumAgeMs: number): Promise<StatisticsReading | null> {
    const newest = this.#newest;
    if (newest !== null && this.#options.clock.monotonic() - newest.atMs <= maximumAgeMs) return Promise.resolve(newest);
    this.#underWay ??= this.#ask().finally(() => (this.#underWay = null));
    return this.#underWay;
  }

  async #ask(): Promise<StatisticsReading | null> {
    const { clock, files, hypervisor } = this.#options;
    const domains = await hypervisor.statistics().catch(() => null);
    if (domains === null) return null;
    const { busyTicks, totalTicks } = processorTimes((await files.readText("/proc/stat").catch(() => null)) ?? "");
    return (this.#newest = { atMs: clock.monotonic(), domains, busyTicks, totalTicks });
  }
}

/** First line of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal …, in ticks. */
function processorTimes(stat: string): { busyTicks: number; totalTicks: number } {
  const ticks = (/^cpu\s+(.*)$/m.exec(stat)?.[1] ?? "").split(/\s+/).map(Number).slice(0, 8);
  const totalTicks = ticks.reduce((sum, each) => sum + (Number.isFinite(each) ? each : 0), 0);
  return { totalTicks, busyTicks: totalTicks - (ticks[3] ?? 0) - (ticks[4] ?? 0) };
}
