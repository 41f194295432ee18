/**
 * Figures of hosts and machines as they look in life, from a seed: machines that idle, serve by day, work in bursts, or carry a database;
 * noise that remembers, counters that go with the load, memory that creeps. No constants but where life has them (a balloon that nobody
 * moves, swap that nobody uses). For the telemetry benchmark.
 */
import { seededRandom } from "./random.ts";

const classes = [
  { share: 0.35, cpus: 2, base: 0.01, swing: 0.02, burst: 0.002, diskPerCpu: 300, netPerCpu: 200, memoryMiB: 2048 },
  { share: 0.35, cpus: 4, base: 0.15, swing: 0.6, burst: 0.01, diskPerCpu: 900, netPerCpu: 4000, memoryMiB: 8192 },
  { share: 0.2, cpus: 8, base: 0.02, swing: 0.05, burst: 0.03, diskPerCpu: 20_000, netPerCpu: 500, memoryMiB: 16_384 },
  { share: 0.1, cpus: 8, base: 0.3, swing: 0.4, burst: 0.02, diskPerCpu: 30_000, netPerCpu: 6000, memoryMiB: 32_768 },
] as const;

export class Noise {
  /** 0 … 1 */
  readonly next: () => number;

  constructor(seed: number) {
    this.next = seededRandom(seed);
  }

  /** Mean 0, deviation 1, nearly normal. */
  bell(): number {
    return (this.next() + this.next() + this.next() - 1.5) * 2;
  }
}

export class MachineSignal {
  readonly #noise: Noise;
  readonly #kind: (typeof classes)[number];
  readonly #phase: number;
  /** Remembered from step to step: of the load, of the burst, of the memory. */
  #drift = 0;
  #burst = 0;
  #memory: number;
  cpu = 0;

  constructor(noise: Noise) {
    this.#noise = noise;
    let pick = noise.next();
    this.#kind = classes.find(({ share }) => (pick -= share) < 0) ?? classes[0];
    this.#phase = noise.next() * 0.3;
    this.#memory = this.#kind.memoryMiB * (0.3 + 0.5 * noise.next());
  }

  /** The metrics of a machine in their order, in quanta. @param day time of day, 0 … 1 */
  next(day: number): number[] {
    const { cpus, base, swing, burst, diskPerCpu, netPerCpu, memoryMiB } = this.#kind;
    const noise = this.#noise;
    this.#drift = this.#drift * 0.95 + noise.bell() * 0.05;
    if (noise.next() < burst) this.#burst = 0.3 + noise.next() * 0.7;
    else this.#burst *= 0.9;
    const daily = Math.max(0, Math.sin((day + this.#phase) * 2 * Math.PI));
    const load = Math.min(
      1,
      Math.max(0.001, (base + swing * daily * 0.5 + this.#burst * (this.#burst > 0.02 ? 1 : 0)) * (1 + this.#drift + noise.bell() * 0.08)),
    );
    this.cpu = load * cpus;
    this.#memory = Math.min(memoryMiB, Math.max(200, this.#memory + noise.bell() * load * 6));
    const disk = this.cpu * diskPerCpu * Math.max(0, 1 + noise.bell() * 0.4);
    const reads = noise.next() < 0.6 ? 0 : disk * 0.4;
    const writes = disk * 0.6 + (noise.next() < 0.3 ? 8 + noise.next() * 40 : 0);
    const net = this.cpu * netPerCpu * Math.max(0, 1 + noise.bell() * 0.3) + noise.next() * 3;
    return [
      Math.round(this.cpu * 1000),
      load > 0.7 ? Math.round((load - 0.7) * 100 * noise.next()) : Math.round(noise.next() * 2),
      Math.round(this.#memory),
      memoryMiB,
      Math.round(Math.min(memoryMiB, this.#memory * 1.1 + 60)),
      Math.round(reads),
      Math.round(writes),
      Math.round(reads / 32),
      Math.round(writes / 24),
      reads + writes > 0 ? Math.round(300 + noise.next() * 200 + disk / 100) : 0,
      Math.round(net),
      Math.round(net * 0.7 * (1 + noise.bell() * 0.05)),
      // The rest of its memory, and the half of what it has, for that is its cache.
      Math.round(memoryMiB - this.#memory * 0.5),
    ];
  }
}

export class HostSignal {
  readonly machines: readonly MachineSignal[];
  readonly #noise: Noise;
  #cached = 40_000;
  #temperature = 450;

  constructor(seed: number, machines: number) {
    this.#noise = new Noise(seed);
    this.machines = Array.from({ length: machines }, (_, each) => new MachineSignal(new Noise(seed * 1000 + each + 1)));
  }

  /** The forty metrics of a host in their order, after its machines were asked. @param vms what they said */
  next(vms: readonly (readonly number[])[]): number[] {
    const noise = this.#noise;
    const cpus = 128;
    const sum = (metric: number): number => vms.reduce((total, figures) => total + (figures[metric] ?? 0), 0);
    const guests = sum(0) / cpus;
    const system = guests * 0.08 + 4 * (1 + noise.bell() * 0.1);
    const [read, write, receive, transmit] = [sum(5), sum(6), sum(10), sum(11)];
    const used = sum(4) + 9000 + noise.bell() * 20;
    this.#cached = Math.max(1000, this.#cached + noise.bell() * 12);
    this.#temperature += (450 + guests * 0.4 - this.#temperature) * 0.02 + noise.bell();
    const iowait = (read + write) / 40_000;
    const whole = [
      guests + system + 3,
      3 * (1 + noise.bell() * 0.3),
      0,
      system,
      iowait,
      0,
      system * 0.2,
      0,
      guests,
      ((guests * cpus) / 1000) * 100 * (1 + noise.bell() * 0.05),
      2 + (guests * cpus) / 1000 + noise.next() * 4,
      noise.next() < iowait / 20 ? 1 : 0,
      20_000 + guests * 300 * (1 + noise.bell() * 0.1),
      guests > 300 ? guests / 30 : noise.next() * 2,
      0,
      0,
      iowait * 2 * noise.next(),
      iowait * noise.next(),
      used,
      524_288 - used,
      this.#cached,
      10 + noise.next() * 200,
      0,
      sum(4) * 0.04,
      0,
      0,
      0,
      read,
      write + 200 + noise.next() * 100,
      read / 32,
      write / 24 + 10,
      Math.min(1000, iowait * 20),
      400 + noise.next() * 200,
      receive,
      transmit,
      receive * 1.2,
      transmit * 1.3,
      noise.next() < 0.02 ? 1 : 0,
      this.#temperature,
      180 + guests * 0.25 + noise.bell() * 2,
    ];
    return whole.map((figure) => Math.max(0, Math.round(figure)));
  }
}
