/** Machines' figures between two looks at the hypervisor's statistics: one call for all of them. Called by the sampler every 10 s. */
import type { VmMetric } from "@sheaf/model";
import type { DomainStatistics, Hypervisor } from "./ports.ts";

export type GuestFigures = Partial<Record<VmMetric, number>>;

export class GuestMeter {
  readonly #hypervisor: Pick<Hypervisor, "statistics">;
  #before: { readonly atMs: number; readonly domains: ReadonlyMap<string, DomainStatistics> } | null = null;

  constructor(hypervisor: Pick<Hypervisor, "statistics">) {
    this.#hypervisor = hypervisor;
  }

  /** Never fails: while the hypervisor does not answer there are none. Rates are there from the second look on. @param nowMs monotonic */
  async read(nowMs: number): Promise<ReadonlyMap<string, GuestFigures>> {
    const found = await this.#hypervisor.statistics().catch((): readonly DomainStatistics[] => []);
    const before = this.#before;
    this.#before = { atMs: nowMs, domains: new Map(found.map((each) => [each.uuid, each])) };
    const seconds = before ? (nowMs - before.atMs) / 1000 : 0;
    return new Map(found.map((each) => [each.uuid, figuresOf(each, before?.domains.get(each.uuid), seconds)]));
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
  };
}
