/**
 * What the guests of one simulated host use, and what its kernel counts of that: figures that wander as those of real machines do, drawn
 * from the seed and the machine's id. Read by the host's agent before each heartbeat; costs what runs on this host.
 */
import type { DomainStatistics, SimulatedHypervisor } from "@sheaf/agent";
import type { Clock } from "@sheaf/base";
import { digest } from "./chance.ts";

interface Used {
  cpuTimeNs: number;
  diskReadBytes: number;
  diskWriteBytes: number;
  netReceiveBytes: number;
  netTransmitBytes: number;
}

/** How busy a guest's processors are, 0 … 1. */
export type BusyShare = (machine: string, now: number) => number;

export interface HostToLoad {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly hypervisor: SimulatedHypervisor;
  put(path: string, content: string): void;
}

/** How long a guest stays about as busy as it is. */
const moodMs = 20_000;
const dayMs = 86_400_000;
/** Of the host itself: its kernel, libvirtd, the agent. */
const ownCpus = 0.2;
const ownMemoryBytes = 2 ** 30;
/** Ticks of `/proc/stat` in a second (proc(5), USER_HZ). */
const ticks = 100;

export class GuestLoads {
  readonly #host: HostToLoad;
  readonly #clock: Clock;
  readonly #busyShare: BusyShare;
  readonly #used = new Map<string, Used>();
  #readAt: number;
  #busyTicks = 0;
  #allTicks = 0;

  constructor(host: HostToLoad, clock: Clock, busyShare: BusyShare) {
    this.#host = host;
    this.#clock = clock;
    this.#busyShare = busyShare;
    this.#readAt = clock.monotonic();
  }

  /** Counters as libvirt gives them, and the host's own in its files. */
  read(): readonly DomainStatistics[] {
    const { hypervisor } = this.#host;
    const at = this.#clock.monotonic();
    const seconds = (at - this.#readAt) / 1000;
    this.#readAt = at;
    let busyCpus = ownCpus;
    let usedBytes = ownMemoryBytes;
    const running = new Set(hypervisor.active());
    for (const uuid of this.#used.keys()) if (!running.has(uuid)) this.#used.delete(uuid);
    const found: DomainStatistics[] = [];
    for (const uuid of running) {
      const live = hypervisor.live(uuid);
      if (!live) continue;
      const { current: vcpus } = live.vcpus;
      const share = hypervisor.stands(uuid)?.state === "running" ? this.#busyShare(uuid, this.#clock.now()) : 0;
      const used = this.#used.get(uuid) ?? { cpuTimeNs: 0, diskReadBytes: 0, diskWriteBytes: 0, netReceiveBytes: 0, netTransmitBytes: 0 };
      this.#used.set(uuid, used);
      used.cpuTimeNs += Math.round(share * vcpus * seconds * 1e9);
      used.diskReadBytes += Math.round(share * seconds * 4e6);
      used.diskWriteBytes += Math.round(share * seconds * 9e6);
      used.netReceiveBytes += Math.round(share * seconds * 6e6);
      used.netTransmitBytes += Math.round(share * seconds * 14e6);
      const memoryUsedBytes = Math.round(live.memory.currentBytes * (0.35 + 0.5 * part(uuid, 1)));
      found.push({
        uuid,
        vcpus,
        balloonBytes: live.memory.currentBytes,
        memoryUsedBytes,
        memoryAvailableBytes: live.memory.currentBytes - memoryUsedBytes,
        ...used,
      });
      busyCpus += share * vcpus;
      usedBytes += memoryUsedBytes;
    }
    this.#count(busyCpus, usedBytes, seconds);
    return found;
  }

  #count(busyCpus: number, usedBytes: number, seconds: number): void {
    const { cpus, memoryBytes } = this.#host;
    this.#busyTicks += Math.min(cpus, busyCpus) * seconds * ticks;
    this.#allTicks += cpus * seconds * ticks;
    const [busy, all] = [Math.round(this.#busyTicks), Math.round(this.#allTicks)];
    this.#host.put("/proc/stat", `cpu  ${busy} 0 0 ${all - busy} 0 0 0 0\nbtime 1767225600\n`);
    const kib = (bytes: number): number => Math.floor(bytes / 1024);
    this.#host.put("/proc/meminfo", `MemTotal: ${kib(memoryBytes)} kB\nMemAvailable: ${kib(Math.max(0, memoryBytes - usedBytes))} kB\n`);
  }
}

/** By the machine's own habit, the hour, and its mood of the moment, from one to the next without a jump. */
export const wanderingShare: BusyShare = (uuid, now) => {
  const habit = 0.05 + 0.45 * part(uuid, 0) ** 2;
  const hour = 0.75 + 0.25 * Math.sin(((now % dayMs) / dayMs) * 2 * Math.PI - Math.PI / 2);
  const turn = Math.floor(now / moodMs);
  const between = (now % moodMs) / moodMs;
  const mood = part(uuid, turn) * (1 - between) + part(uuid, turn + 1) * between;
  return Math.min(1, habit * hour * (0.4 + 1.2 * mood));
};

/** 0 … 1, always the same for the same words. */
const part = (uuid: string, number: number): number => digest(`${uuid} ${number}`) / 0xffff_ffff;
