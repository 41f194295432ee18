/** Machines' figures between two looks at the hypervisor's statistics: one call for all of them. Called by the sampler every 10 s. */
import type { VmMetric } from "@sheaf/model";
import type { DomainStatistics } from "./ports.ts";
import type { StatisticsReader, StatisticsReading } from "./statistics-reader.ts";

export type GuestFigures = Partial<Record<VmMetric, number>>;

export class GuestMeter {
  readonly #statistics: Pick<StatisticsReader, "read">;
  #before: StatisticsReading | null = null;

  constructor(statistics: Pick<StatisticsReader, "read">) {
    this.#statistics = statistics;
  }

  /** Never fails: while the hypervisor does not answer there are none. Rates are there from the second look on. */
  async read(): Promise<ReadonlyMap<string, GuestFigures>> {
    const now = await this.#statistics.read(0);
    if (now === null) return new Map();
    const seconds = this.#before ? (now.atMs - this.#before.atMs) / 1000 : 0;
    const before = new Map(this.#before?.domains.map((each) => [each.uuid, each]));
    this.#before = now;
    return new Map(now.domains.map((each) => [each.uuid, figuresOf(each, before.get(each.uuid), seconds)]));
  }
}

function figuresOf(now: DomainStatistics, before: DomainStatistics | undefined, seconds: number): GuestFigures {
  const grown = (name: keyof DomainStatistics): number | undefined => {
    const [value, last] = [now[name], before?.[name]];
    // A counter that fell began anew: the machine was restarted.
    return typeof value !== "number" || typeof last !== "number" || value < last || seconds <= 0 ? undefined : value - last;
  };
  const rate = (metric: VmMetric, name: keyof DomainStatistics, scale = 1): GuestFigures => {
    const more = grown(name);
    return more === undefined ? {} : { [metric]: (more * scale) / seconds };
  };
  const [reads, writes, timeNs] = [grown("diskReads"), grown("diskWrites"), grown("diskTimeNs")];
  const requests = (reads ?? 0) + (writes ?? 0);
  return {
    ...rate("cpu", "cpuTimeNs", 1e-9),
    ...rate("cpuWaiting", "cpuWaitNs", 1e-9),
    memoryUsedBytes: now.memoryUsedBytes,
    memoryAssignedBytes: now.balloonBytes,
    ...(now.residentBytes === undefined ? {} : { memoryResidentBytes: now.residentBytes }),
    ...rate("diskReadBytesPerSecond", "diskReadBytes"),
    ...rate("diskWriteBytesPerSecond", "diskWriteBytes"),
    ...rate("diskReadsPerSecond", "diskReads"),
    ...rate("diskWritesPerSecond", "diskWrites"),
    ...(timeNs === undefined ? {} : { diskLatencyMicroseconds: requests > 0 ? timeNs / requests / 1000 : 0 }),
    ...rate("netReceiveBytesPerSecond", "netReceiveBytes"),
    ...rate("netTransmitBytesPerSecond", "netTransmitBytes"),
    ...(now.memoryAvailableBytes === undefined ? {} : { memoryAvailableBytes: now.memoryAvailableBytes }),
  };
}
