/**
 * What hosts and machines use, and what machines are used to use at which hour of the week. The present is smoothed over the last minutes, so that
 * a peak of seconds is no hot spot: fed with what agents tell, read when a balancing problem is made. An exponential mean with a time constant
 * that tolerates uneven readings. O(1) a reading; takes the time as an argument. Pure.
 */
import type { WeekProfile } from "./forecast-use.ts";

export interface UseReading {
  /** In use of the host, by whomever. */
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly machines: readonly { readonly id: string; readonly cpus: number; readonly memoryBytes: number }[];
}

export interface Use {
  readonly cpus: number;
  readonly memoryBytes: number;
}

interface Mean {
  cpus: number;
  memoryBytes: number;
  since: number;
  at: number;
}

/** After so long a step counts for 63 %, after three times as long for 95 %. */
export const smoothingMs = 300_000;
/** What is known for less has not been seen for long enough to be moved for its use. */
const knownMs = 60_000;
/** Who was not told of for so long is not known any more. */
const forgottenMs = 120_000;

export class UseBook {
  /** Of hosts: what is used beside the machines. */
  readonly #hosts = new Map<string, Mean>();
  readonly #machines = new Map<string, Mean>();
  readonly #habits = new Map<string, WeekProfile>();

  /** @param at monotonic, ms */
  add(host: string, reading: UseReading, at: number): void {
    let [cpus, memoryBytes] = [reading.cpus, reading.memoryBytes];
    for (const machine of reading.machines) {
      cpus -= machine.cpus;
      memoryBytes -= machine.memoryBytes;
      smooth(this.#machines, machine.id, machine.cpus, machine.memoryBytes, at);
    }
    smooth(this.#hosts, host, Math.max(0, cpus), Math.max(0, memoryBytes), at);
  }

  /** What the host uses beside its machines. `undefined`: it has not told for a while. */
  host(id: string, at: number): Use | undefined {
    const mean = this.#hosts.get(id);
    return mean !== undefined && at - mean.at <= forgottenMs ? mean : undefined;
  }

  /** As far as it is known. `undefined`: it was not told of for a while. */
  machine(id: string, at: number): Use | undefined {
    const mean = this.#machines.get(id);
    return mean !== undefined && at - mean.at <= forgottenMs ? mean : undefined;
  }

  /** The same of one that has been seen for long enough to be moved for its use. */
  settledMachine(id: string, at: number): Use | undefined {
    const mean = this.#machines.get(id);
    return mean !== undefined && mean.at - mean.since >= knownMs ? this.machine(id, at) : undefined;
  }

  /** @param profile `null`: it has none (yet) */
  learn(machine: string, profile: WeekProfile | null): void {
    if (profile === null) this.#habits.delete(machine);
    else this.#habits.set(machine, profile);
  }

  /** CPUs that it used at each hour of the week; `undefined`: too little is known. */
  habit(machine: string): WeekProfile | undefined {
    return this.#habits.get(machine);
  }

  /** Drops what has not been told of for a while. O(all). */
  sweep(at: number): void {
    for (const means of [this.#hosts, this.#machines]) for (const [id, mean] of means) if (at - mean.at > forgottenMs) means.delete(id);
  }
}

function smooth(means: Map<string, Mean>, id: string, cpus: number, memoryBytes: number, at: number): void {
  const mean = means.get(id);
  if (mean === undefined || at - mean.at > forgottenMs) {
    means.set(id, { cpus, memoryBytes, since: at, at });
    return;
  }
  const passedMs = at - mean.at;
  if (passedMs === 0) return;
  // The first readings count alike: there is no history yet that they would be weighed against.
  const weight = Math.max(1 - Math.exp(-passedMs / smoothingMs), passedMs / (at - mean.since + passedMs));
  mean.cpus += weight * (cpus - mean.cpus);
  mean.memoryBytes += weight * (memoryBytes - mean.memoryBytes);
  mean.at = at;
}
