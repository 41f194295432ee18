/**
 * The balancing problem with moves applied to it, in columns: one look at a move is O(1) and makes no objects, since a plan takes millions of
 * them. Used by `planBalance` alone.
 */
import type { BalanceProblem } from "./balance-problem.ts";

export class BalanceState {
  /**
   * The binding use that every host would have, were everything divisible: the largest of the cluster's use of memory, and of CPU now and in the
   * hours to come. No move changes it.
   */
  readonly level: number;
  readonly hostCount: number;
  /** 1 ÷ what the host offers. */
  readonly #perCpu: Float64Array;
  readonly #perByte: Float64Array;
  readonly #usedCpus: Float64Array;
  readonly #usedBytes: Float64Array;
  /** CPUs used in the hours to come: hours of a host, or machine, one after the other. */
  readonly #hours: number;
  readonly #aheadCpus: Float64Array;
  readonly #machineAheadCpus: Float64Array;
  readonly #freePromisesCpus: Float64Array;
  readonly #freePromisesBytes: Float64Array;
  readonly #machineCpus: Float64Array;
  readonly #machineBytes: Float64Array;
  readonly #machinePromisedCpus: Float64Array;
  readonly #machinePromisedBytes: Float64Array;
  readonly #hostOf: Int32Array;
  /** By host, kept up to date: they are looked at far more often than they change. */
  readonly #use: Float64Array;
  readonly #harm: Float64Array;
  /** Machines by host. */
  readonly #on: number[][];
  /** By host: groups of machines that stay apart which are there. */
  readonly #apart: (Map<string, number> | undefined)[];
  readonly #problem: BalanceProblem;

  constructor(problem: BalanceProblem) {
    this.#problem = problem;
    const { hosts, machines } = problem;
    this.hostCount = hosts.length;
    this.#perCpu = Float64Array.from(hosts, ({ cpus }) => 1 / Math.max(cpus, Number.MIN_VALUE));
    this.#perByte = Float64Array.from(hosts, ({ memoryBytes }) => 1 / Math.max(memoryBytes, Number.MIN_VALUE));
    this.#usedCpus = Float64Array.from(hosts, ({ usedCpus }) => usedCpus);
    this.#usedBytes = Float64Array.from(hosts, ({ usedMemoryBytes }) => usedMemoryBytes);
    this.#hours = problem.hoursAhead ?? 0;
    this.#aheadCpus = inHours(hosts, this.#hours);
    this.#machineAheadCpus = inHours(machines, this.#hours);
    this.#freePromisesCpus = Float64Array.from(hosts, ({ promisableCpus }) => promisableCpus);
    this.#freePromisesBytes = Float64Array.from(hosts, ({ promisableMemoryBytes }) => promisableMemoryBytes);
    this.#machineCpus = Float64Array.from(machines, ({ usedCpus }) => usedCpus);
    this.#machineBytes = Float64Array.from(machines, ({ usedMemoryBytes }) => usedMemoryBytes);
    this.#machinePromisedCpus = Float64Array.from(machines, ({ promisedCpus }) => promisedCpus);
    this.#machinePromisedBytes = Float64Array.from(machines, ({ promisedMemoryBytes }) => promisedMemoryBytes);
    this.#hostOf = new Int32Array(machines.length).fill(-1);
    this.#use = new Float64Array(hosts.length);
    this.#harm = new Float64Array(hosts.length);
    this.#on = hosts.map(() => []);
    this.#apart = hosts.map(() => undefined);
    for (let machine = 0; machine < machines.length; machine += 1) this.#put(machine, machines[machine]?.host ?? 0);
    const share = (used: Float64Array, offered: (index: number) => number): number =>
      sum(used) / Math.max(sumOf(hosts.length, offered), Number.MIN_VALUE);
    const cpus = (index: number): number => hosts[index]?.cpus ?? 0;
    this.level = Math.max(
      share(this.#usedCpus, cpus),
      share(this.#usedBytes, (index) => hosts[index]?.memoryBytes ?? 0),
    );
    for (let hour = 0; hour < this.#hours; hour += 1) {
      const used = Float64Array.from(hosts, (_, host) => this.#aheadCpus[host * this.#hours + hour] ?? 0);
      this.level = Math.max(this.level, share(used, cpus));
    }
    for (let host = 0; host < hosts.length; host += 1) this.#count(host);
  }

  /** Machines on the host now. Changes with moves. */
  machinesOn(host: number): readonly number[] {
    return this.#on[host] ?? [];
  }

  hostOf(machine: number): number {
    return this.#hostOf[machine] ?? -1;
  }

  /** What may still be promised there. */
  freePromises(host: number): { readonly cpus: number; readonly memoryBytes: number } {
    return { cpus: this.#freePromisesCpus[host] ?? 0, memoryBytes: this.#freePromisesBytes[host] ?? 0 };
  }

  /** The largest of the shares of memory in use, and of CPU now and in the hours to come; may pass 1. */
  bindingUse(host: number): number {
    return this.#use[host] ?? 0;
  }

  /** Binding use of the host were `gains` there, and `loses` not; -1 for none. */
  useWith(host: number, gains: number, loses = -1): number {
    const cpus = (this.#machineCpus[gains] ?? 0) - (this.#machineCpus[loses] ?? 0);
    const bytes = (this.#machineBytes[gains] ?? 0) - (this.#machineBytes[loses] ?? 0);
    const use = this.#binding(host, cpus, bytes);
    return this.#hours === 0 ? use : this.#ahead(host, gains, loses, use);
  }

  /** Square of the distance from the level: what a plan makes small, summed over hosts. */
  harm(host: number): number {
    return this.#harm[host] ?? 0;
  }

  /** Harm of the host were `gains` there, and `loses` not; -1 for none. */
  harmWith(host: number, gains: number, loses: number): number {
    return square(this.useWith(host, gains, loses) - this.level);
  }

  /** Whether promises, groups and rules let the machine come, were `leaving` (-1: none) gone. */
  mayCome(machine: number, host: number, leaving = -1): boolean {
    const cpus = (this.#freePromisesCpus[host] ?? 0) + (this.#machinePromisedCpus[leaving] ?? 0);
    if ((this.#machinePromisedCpus[machine] ?? 0) > cpus) return false;
    const bytes = (this.#freePromisesBytes[host] ?? 0) + (this.#machinePromisedBytes[leaving] ?? 0);
    if ((this.#machinePromisedBytes[machine] ?? 0) > bytes) return false;
    const group = this.#problem.machines[machine]?.apart;
    if (group !== undefined) {
      const others = (this.#apart[host]?.get(group) ?? 0) - (this.#problem.machines[leaving]?.apart === group ? 1 : 0);
      if (others > 0) return false;
    }
    return this.#problem.mayRun(machine, host);
  }

  /** Whether it may come were these there as well. */
  mayComeAmong(machine: number, host: number, others: readonly number[]): boolean {
    let [cpus, bytes] = [this.#freePromisesCpus[host] ?? 0, this.#freePromisesBytes[host] ?? 0];
    const group = this.#problem.machines[machine]?.apart;
    for (const other of others) {
      cpus -= this.#machinePromisedCpus[other] ?? 0;
      bytes -= this.#machinePromisedBytes[other] ?? 0;
      if (group !== undefined && this.#problem.machines[other]?.apart === group) return false;
    }
    return (this.#machinePromisedCpus[machine] ?? 0) <= cpus && (this.#machinePromisedBytes[machine] ?? 0) <= bytes;
  }

  move(machine: number, to: number): void {
    const from = this.hostOf(machine);
    this.#take(machine);
    this.#put(machine, to);
    this.#count(from);
    this.#count(to);
  }

  #count(host: number): void {
    const use = this.useWith(host, -1);
    this.#use[host] = use;
    this.#harm[host] = square(use - this.level);
  }

  #binding(host: number, cpus: number, bytes: number): number {
    const cpu = ((this.#usedCpus[host] ?? 0) + cpus) * (this.#perCpu[host] ?? 0);
    const memory = ((this.#usedBytes[host] ?? 0) + bytes) * (this.#perByte[host] ?? 0);
    return cpu > memory ? cpu : memory;
  }

  /** @param most what it is at least */
  #ahead(host: number, gains: number, loses: number, most: number): number {
    const hours = this.#hours;
    const own = this.#aheadCpus;
    const theirs = this.#machineAheadCpus;
    const first = host * hours;
    let highest = 0;
    for (let hour = 0; hour < hours; hour += 1) {
      let cpus = own[first + hour] ?? 0;
      if (gains >= 0) cpus += theirs[gains * hours + hour] ?? 0;
      if (loses >= 0) cpus -= theirs[loses * hours + hour] ?? 0;
      if (cpus > highest) highest = cpus;
    }
    const use = highest * (this.#perCpu[host] ?? 0);
    return use > most ? use : most;
  }

  #put(machine: number, host: number): void {
    this.#hostOf[machine] = host;
    this.#on[host]?.push(machine);
    this.#charge(machine, host, 1);
  }

  #take(machine: number): void {
    const host = this.hostOf(machine);
    const there = this.#on[host] ?? [];
    there.splice(there.indexOf(machine), 1);
    this.#charge(machine, host, -1);
  }

  #charge(machine: number, host: number, sign: 1 | -1): void {
    const add = (column: Float64Array, by: number): void => {
      column[host] = (column[host] ?? 0) + sign * by;
    };
    add(this.#usedCpus, this.#machineCpus[machine] ?? 0);
    add(this.#usedBytes, this.#machineBytes[machine] ?? 0);
    for (let hour = 0; hour < this.#hours; hour += 1) {
      const at = host * this.#hours + hour;
      this.#aheadCpus[at] = (this.#aheadCpus[at] ?? 0) + sign * (this.#machineAheadCpus[machine * this.#hours + hour] ?? 0);
    }
    add(this.#freePromisesCpus, -(this.#machinePromisedCpus[machine] ?? 0));
    add(this.#freePromisesBytes, -(this.#machinePromisedBytes[machine] ?? 0));
    const group = this.#problem.machines[machine]?.apart;
    if (group === undefined) return;
    const groups = (this.#apart[host] ??= new Map<string, number>());
    groups.set(group, (groups.get(group) ?? 0) + sign);
  }
}

/** Where nothing is said of the hours to come they are as now. */
function inHours(all: BalanceProblem["hosts"] | BalanceProblem["machines"], hours: number): Float64Array {
  const column = new Float64Array(all.length * hours);
  for (const [index, { usedCpus, aheadCpus }] of all.entries())
    for (let hour = 0; hour < hours; hour += 1) column[index * hours + hour] = aheadCpus?.[hour] ?? usedCpus;
  return column;
}

const square = (figure: number): number => figure * figure;

function sum(figures: Float64Array): number {
  let total = 0;
  for (const figure of figures) total += figure;
  return total;
}

function sumOf(count: number, figure: (index: number) => number): number {
  let total = 0;
  for (let index = 0; index < count; index += 1) total += figure(index);
  return total;
}
