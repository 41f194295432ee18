/** The host's load and its machines', for heartbeats: rates between two readings of counters. Called by the server link before each heartbeat. */
import type { Clock } from "@sheaf/base";
import type { HostLoad, VmLoad } from "@sheaf/contract";
import { readMemory } from "./host-inventory.ts";
import type { DomainStatistics, Files, Hypervisor } from "./ports.ts";

interface Reading {
  readonly at: number;
  readonly busy: number;
  readonly total: number;
  readonly domains: ReadonlyMap<string, DomainStatistics>;
}

export class LoadMeter {
  readonly #files: Files;
  readonly #hypervisor: Hypervisor;
  readonly #clock: Clock;
  /** Machines of this agent: others' figures are not told. */
  readonly #isOurs: (uuid: string) => boolean;
  #before: Reading | null = null;

  constructor(options: {
    readonly files: Files;
    readonly hypervisor: Hypervisor;
    readonly clock: Clock;
    readonly isOurs: (uuid: string) => boolean;
  }) {
    this.#files = options.files;
    this.#hypervisor = options.hypervisor;
    this.#clock = options.clock;
    this.#isOurs = options.isOurs;
  }

  /** Never fails: what cannot be read now is left out. */
  async read(): Promise<HostLoad> {
    const domains = await this.#hypervisor.statistics().catch((): readonly DomainStatistics[] => []);
    const { busy, total } = processorTimes((await this.#files.readText("/proc/stat").catch(() => null)) ?? "");
    const now: Reading = { at: this.#clock.monotonic(), busy, total, domains: new Map(domains.map((each) => [each.uuid, each])) };
    const before = this.#before;
    this.#before = now;
    const memoryTotalBytes = await readMemory(this.#files, "MemTotal");
    const available = await readMemory(this.#files, "MemAvailable");
    const passed = before ? total - before.total : 0;
    return {
      cpu: before && passed > 0 ? Math.min(1, Math.max(0, (busy - before.busy) / passed)) : 0,
      memoryUsedBytes: Math.max(0, memoryTotalBytes - available),
      memoryTotalBytes,
      vms: domains
        .filter(({ uuid }) => this.#isOurs(uuid))
        .map((each) => vmLoad(each, before?.domains.get(each.uuid), now.at - (before?.at ?? now.at))),
    };
  }
}

function vmLoad(now: DomainStatistics, before: DomainStatistics | undefined, passedMs: number): VmLoad {
  // A counter that fell began anew: the machine was restarted.
  const rate = (figure: (of: DomainStatistics) => number): number => {
    const grown = before ? figure(now) - figure(before) : 0;
    return passedMs > 0 && grown > 0 ? grown / (passedMs / 1000) : 0;
  };
  return {
    id: now.uuid,
    cpu: rate((of) => of.cpuTimeNs) / 1e9,
    memoryUsedBytes: now.memoryUsedBytes,
    diskReadBytesPerSecond: Math.round(rate((of) => of.diskReadBytes)),
    diskWriteBytesPerSecond: Math.round(rate((of) => of.diskWriteBytes)),
    netReceiveBytesPerSecond: Math.round(rate((of) => of.netReceiveBytes)),
    netTransmitBytesPerSecond: Math.round(rate((of) => of.netTransmitBytes)),
  };
}

/** First line of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal …, in ticks. */
function processorTimes(stat: string): { busy: number; total: number } {
  const ticks = (/^cpu\s+(.*)$/m.exec(stat)?.[1] ?? "").split(/\s+/).map(Number).slice(0, 8);
  const total = ticks.reduce((sum, each) => sum + (Number.isFinite(each) ? each : 0), 0);
  return { total, busy: total - (ticks[3] ?? 0) - (ticks[4] ?? 0) };
}
