/** The host's load and its machines', for heartbeats: rates between two readings of counters. Called by the server link before each heartbeat. */
import type { HostLoad, VmLoad } from "@sheaf/contract";
import { readMemory } from "./host-inventory.ts";
import type { DomainStatistics, Files } from "./ports.ts";
import type { StatisticsReader, StatisticsReading } from "./statistics-reader.ts";

/** Samples read anew every 10 s: heartbeats tell of that reading, and read for themselves where nobody samples. */
const maximumAgeMs = 9500;

interface LoadMeterOptions {
  readonly files: Files;
  readonly statistics: Pick<StatisticsReader, "read">;
  /** Machines of this agent: others' figures are not told. */
  readonly isOurs: (uuid: string) => boolean;
}

export class LoadMeter {
  readonly #options: LoadMeterOptions;
  #before: StatisticsReading | null = null;
  #told: HostLoad | null = null;

  constructor(options: LoadMeterOptions) {
    this.#options = options;
  }

  /** Never fails: what cannot be read now is left out. */
  async read(): Promise<HostLoad> {
    const { files, statistics, isOurs } = this.#options;
    const now = await statistics.read(maximumAgeMs);
    const before = this.#before;
    if (this.#told !== null && now !== null && now === before) return this.#told;
    const memoryTotalBytes = await readMemory(files, "MemTotal");
    const available = await readMemory(files, "MemAvailable");
    const passed = now && before ? now.totalTicks - before.totalTicks : 0;
    const earlier = new Map(before?.domains.map((each) => [each.uuid, each]));
    const load: HostLoad = {
      cpu: now && before && passed > 0 ? Math.min(1, Math.max(0, (now.busyTicks - before.busyTicks) / passed)) : 0,
      memoryUsedBytes: Math.max(0, memoryTotalBytes - available),
      memoryTotalBytes,
      vms: (now?.domains ?? [])
        .filter(({ uuid }) => isOurs(uuid))
        .map((each) => vmLoad(each, earlier.get(each.uuid), (now?.atMs ?? 0) - (before?.atMs ?? now?.atMs ?? 0))),
    };
    if (now === null) return load;
    this.#before = now;
    return (this.#told = load);
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
