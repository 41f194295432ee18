/**
 * The host's own figures, from /proc and /sys: rates between two readings of counters, and what stands there as it is. What a host does not
 * offer is left out: pressure on older kernels, temperature and power on many. Called by the sampler every 10 s.
 */
import type { HostMetric } from "@sheaf/model";
import type { Files } from "./ports.ts";
import { hostDevices, type HostDevices } from "./host-devices.ts";

export type HostFigures = Partial<Record<HostMetric, number>>;

/** Counters that only rise, by the figure that they become. */
type Counters = Partial<Record<HostMetric, number>>;

interface Reading {
  readonly atMs: number;
  /** proc(5): user nice system idle iowait irq softirq steal guest guest_nice, in ticks. */
  readonly cpu: readonly number[];
  readonly counters: Counters;
  /** Ms in which each disk was busy. */
  readonly busyMs: ReadonlyMap<string, number>;
  readonly io: { readonly count: number; readonly ms: number } | null;
}

const pageBytes = 4096;
const sectorBytes = 512;
/** Disks, interfaces and sensors are looked for anew. */
const devicesEveryMs = 300_000;

export class HostMeter {
  readonly #files: Files;
  #before: Reading | null = null;
  #devices: { readonly found: HostDevices; readonly atMs: number } | null = null;

  constructor(files: Files) {
    this.#files = files;
  }

  /** Never fails. The first time there are no rates. @param nowMs monotonic */
  async read(nowMs: number): Promise<HostFigures> {
    const devices = await this.#currentDevices(nowMs);
    const [stat, memory, load, paging, diskstats, network] = await Promise.all(
      ["stat", "meminfo", "loadavg", "vmstat", "diskstats", "net/dev"].map((name) => this.#text(`/proc/${name}`)),
    );
    const disks = readDisks(diskstats ?? "", devices.disks);
    const reading: Reading = {
      atMs: nowMs,
      cpu: numbers(line(stat, "cpu")),
      counters: {
        ...present("contextSwitchesPerSecond", field(stat, "ctxt")),
        ...present("swapInBytesPerSecond", scaled(field(paging, "pswpin"), pageBytes)),
        ...present("swapOutBytesPerSecond", scaled(field(paging, "pswpout"), pageBytes)),
        ...disks.counters,
        ...readNetwork(network ?? "", devices.interfaces),
        ...(await this.#pressure()),
        ...(await this.#energy(devices)),
      },
      busyMs: disks.busyMs,
      io: disks.io,
    };
    const before = this.#before;
    this.#before = reading;
    return {
      ...present("loadAverage", numbers(load)[0]),
      ...present("processesRunning", field(stat, "procs_running")),
      ...present("processesBlocked", field(stat, "procs_blocked")),
      ...readMemory(memory ?? ""),
      ...present("memorySharedBytes", scaled(await this.#number("/sys/kernel/mm/ksm/pages_sharing"), pageBytes)),
      ...(await this.#sensors(devices)),
      ...(before ? rates(before, reading) : {}),
    };
  }

  async #currentDevices(nowMs: number): Promise<HostDevices> {
    if (!this.#devices || nowMs - this.#devices.atMs >= devicesEveryMs) this.#devices = { found: await hostDevices(this.#files), atMs: nowMs };
    return this.#devices.found;
  }

  /** Pressure stall information: microseconds since the boot. */
  async #pressure(): Promise<Counters> {
    const [cpu, memory, io] = await Promise.all(["cpu", "memory", "io"].map((name) => this.#text(`/proc/pressure/${name}`)));
    const total = (text: string | null | undefined, kind: string): number | undefined => {
      const found = new RegExp(`^${kind} .*total=(\\d+)`, "m").exec(text ?? "")?.[1];
      return found === undefined ? undefined : Number(found) / 1e6;
    };
    return {
      ...present("pressureCpu", total(cpu, "some")),
      ...present("pressureMemorySome", total(memory, "some")),
      ...present("pressureMemoryFull", total(memory, "full")),
      ...present("pressureIoSome", total(io, "some")),
      ...present("pressureIoFull", total(io, "full")),
    };
  }

  /** Joules since some time, where the processors count them (RAPL). */
  async #energy({ energyCounters }: HostDevices): Promise<Counters> {
    const joules = await Promise.all(energyCounters.map((path) => this.#number(path)));
    if (joules.length === 0 || joules.includes(undefined)) return {};
    return { powerWatts: joules.reduce<number>((sum, each) => sum + (each ?? 0) / 1e6, 0) };
  }

  async #sensors({ temperatures, power, energyCounters }: HostDevices): Promise<HostFigures> {
    const degrees = (await Promise.all(temperatures.map((path) => this.#number(path)))).filter((each) => each !== undefined);
    const watts = await Promise.all(power.map((path) => this.#number(path)));
    return {
      ...(degrees.length > 0 ? { temperatureCelsius: Math.max(...degrees) / 1000 } : {}),
      ...(energyCounters.length === 0 && watts.length > 0 ? { powerWatts: watts.reduce<number>((sum, each) => sum + (each ?? 0) / 1e6, 0) } : {}),
    };
  }

  #text(path: string): Promise<string | null> {
    return this.#files.readText(path).catch(() => null);
  }

  async #number(path: string): Promise<number | undefined> {
    const text = await this.#text(path);
    const value = Number(text?.trim() || "no number");
    return Number.isFinite(value) ? value : undefined;
  }
}

function rates(before: Reading, now: Reading): HostFigures {
  const seconds = (now.atMs - before.atMs) / 1000;
  if (seconds <= 0) return {};
  const grown = Object.entries(now.counters).flatMap(([name, value]) => {
    // The keys are those of `counters`.
    const last = before.counters[name as HostMetric];
    // A counter that fell began anew.
    return last === undefined || value < last ? [] : [[name, (value - last) / seconds] as const];
  });
  const busy = [...now.busyMs].flatMap(([disk, ms]) => {
    const last = before.busyMs.get(disk);
    return last === undefined || ms < last ? [] : [(ms - last) / 1000 / seconds];
  });
  const count = (now.io?.count ?? 0) - (before.io?.count ?? 0);
  const ms = (now.io?.ms ?? 0) - (before.io?.ms ?? 0);
  return {
    ...(Object.fromEntries(grown) as HostFigures), // the same keys
    ...shares(before.cpu, now.cpu),
    ...(busy.length > 0 ? { diskBusy: Math.min(1, Math.max(...busy)) } : {}),
    ...(count > 0 && ms >= 0 ? { diskLatencyMicroseconds: (ms / count) * 1000 } : now.io && before.io ? { diskLatencyMicroseconds: 0 } : {}),
  };
}

/** Guests' time is counted among the users' as well. */
function shares(before: readonly number[], now: readonly number[]): HostFigures {
  const grown = Array.from({ length: 10 }, (_, kind) => Math.max(0, (now[kind] ?? 0) - (before[kind] ?? 0)));
  const total = grown.slice(0, 8).reduce((sum, each) => sum + each, 0);
  if (now.length < 8 || total <= 0) return {};
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0, guest = 0, guestNice = 0] = grown;
  const share = (ticks: number): number => Math.max(0, ticks) / total;
  return {
    cpu: share(total - idle - iowait),
    cpuUser: share(user - guest),
    cpuNice: share(nice - guestNice),
    cpuSystem: share(system),
    cpuIowait: share(iowait),
    cpuIrq: share(irq),
    cpuSoftirq: share(softirq),
    cpuSteal: share(steal),
    cpuGuest: share(guest + guestNice),
  };
}

function readMemory(text: string): HostFigures {
  const of = (name: string): number | undefined => scaled(field(text, `${name}:`), 1024);
  const [total, available, swap, swapFree] = ["MemTotal", "MemAvailable", "SwapTotal", "SwapFree"].map(of);
  const [pages, free] = ["HugePages_Total", "HugePages_Free"].map((name) => field(text, `${name}:`));
  const pageSize = of("Hugepagesize");
  const difference = (whole: number | undefined, rest: number | undefined): number | undefined =>
    whole === undefined || rest === undefined ? undefined : Math.max(0, whole - rest);
  return {
    ...present("memoryUsedBytes", difference(total, available)),
    ...present("memoryAvailableBytes", available),
    ...present("memoryCachedBytes", of("Cached")),
    ...present("memoryDirtyBytes", of("Dirty")),
    ...present("memoryHugepagesUsedBytes", scaled(difference(pages, free), pageSize ?? 0)),
    ...present("swapUsedBytes", difference(swap, swapFree)),
  };
}

/** /proc/diskstats (the kernel's iostats.rst): major minor name, then reads, merged, sectors, ms, the same of writes, under way, busy ms. */
function readDisks(text: string, disks: ReadonlySet<string>): Pick<Reading, "counters" | "busyMs" | "io"> {
  const busyMs = new Map<string, number>();
  let [reads, readBytes, writes, writtenBytes, ms] = [0, 0, 0, 0, 0];
  for (const each of text.split("\n")) {
    const [, , name = "", ...figures] = each.trim().split(/\s+/);
    if (!disks.has(name)) continue;
    const at = (place: number): number => Number(figures[place] ?? 0);
    reads += at(0);
    readBytes += at(2) * sectorBytes;
    writes += at(4);
    writtenBytes += at(6) * sectorBytes;
    ms += at(3) + at(7);
    busyMs.set(name, at(9));
  }
  if (busyMs.size === 0) return { counters: {}, busyMs, io: null };
  const counters = {
    diskReadsPerSecond: reads,
    diskReadBytesPerSecond: readBytes,
    diskWritesPerSecond: writes,
    diskWriteBytesPerSecond: writtenBytes,
  };
  return { counters, busyMs, io: { count: reads + writes, ms } };
}

/** /proc/net/dev: bytes packets errs drop fifo frame compressed multicast, received; bytes packets errs drop …, sent. */
function readNetwork(text: string, interfaces: ReadonlySet<string>): Counters {
  const sums = {
    netReceiveBytesPerSecond: 0,
    netReceivePacketsPerSecond: 0,
    netTransmitBytesPerSecond: 0,
    netTransmitPacketsPerSecond: 0,
    netFaultsPerSecond: 0,
  };
  let found = false;
  for (const each of text.split("\n")) {
    const [, name = "", rest = ""] = /^\s*([^:\s]+):(.*)$/.exec(each) ?? [];
    if (!interfaces.has(name)) continue;
    found = true;
    const figures = numbers(rest);
    const at = (place: number): number => figures[place] ?? 0;
    sums.netReceiveBytesPerSecond += at(0);
    sums.netReceivePacketsPerSecond += at(1);
    sums.netTransmitBytesPerSecond += at(8);
    sums.netTransmitPacketsPerSecond += at(9);
    sums.netFaultsPerSecond += at(2) + at(3) + at(10) + at(11);
  }
  return found ? sums : {};
}

const present = <Name extends HostMetric>(name: Name, value: number | undefined): { readonly [Each in Name]?: number } =>
  value === undefined || !Number.isFinite(value) ? {} : ({ [name]: value } as { readonly [Each in Name]?: number }); // the one key
const scaled = (value: number | undefined, factor: number): number | undefined => (value === undefined ? undefined : value * factor);
const numbers = (text: string | null | undefined): number[] => (text ?? "").trim().split(/\s+/).filter(Boolean).map(Number);

/** What stands behind the name in its line. */
function line(text: string | null | undefined, name: string): string {
  return new RegExp(`^${name}\\s+(.*)$`, "m").exec(text ?? "")?.[1] ?? "";
}
const field = (text: string | null | undefined, name: string): number | undefined => numbers(line(text, name))[0];
