/** The measures of the classical experiment, added up interval by interval. Called by the experiment. */
import { wattsAt } from "@sheaf/planning";
import type { Books } from "./books.ts";
import type { HostModel } from "./fleet.ts";

export interface Measures {
  readonly energyKwh: number;
  readonly migrations: number;
  /**
   * Of all the time that hosts were active, the share in which they did not give all they were asked for. A host that a machine is on its way
   * to counts as such a one: it gives a tenth of what that machine asks for (CloudSim's reckoning).
   */
  readonly slatah: number;
  /** The same without those that only wait for a machine: they are at 100 %. */
  readonly full: number;
  /** Of all that machines asked for, the share that they did not get while they migrated. */
  readonly pdm: number;
  readonly slav: number;
  /** Of all that machines asked for, the share that they did not get, for whatever reason. */
  readonly unserved: number;
  /** Hosts that were awake, on average. */
  readonly activeHosts: number;
}

const joulesPerKwh = 3_600_000;
/** Sums of demand and their scaled parts differ in the last digits. */
const tolerance = 1e-9;

export class MeasuresLedger {
  readonly #hosts: readonly HostModel[];
  #joules = 0;
  #migrations = 0;
  #seconds = 0;
  #activeSeconds = 0;
  #shortSeconds = 0;
  #fullSeconds = 0;
  #asked = 0;
  #missing = 0;
  #lostToMigration = 0;
  #last: { readonly seconds: number; readonly books: Books } | undefined;

  constructor(hosts: readonly HostModel[]) {
    this.#hosts = hosts;
  }

  countMigrations(count: number): void {
    this.#migrations += count;
  }

  /** Accounts for the time since the last look. The books of that look hold until now; a host's power goes in a straight line to what it is now. */
  advance(seconds: number, books: Books): void {
    const last = this.#last;
    this.#last = { seconds, books };
    if (last === undefined || last.seconds === seconds) return;
    const took = seconds - last.seconds;
    this.#seconds += took;
    for (const [host, { mips, curve }] of this.#hosts.entries()) {
      const given = last.books.hostGiven[host] ?? 0;
      if (given === 0) continue; // it sleeps
      this.#joules += (took * (wattsAt(curve, given / mips) + wattsAt(curve, (books.hostGiven[host] ?? 0) / mips))) / 2;
      this.#activeSeconds += took;
      if (given < (last.books.hostAsked[host] ?? 0) * (1 - tolerance)) this.#shortSeconds += took;
      if (given >= mips * (1 - tolerance)) this.#fullSeconds += took;
    }
    for (const [machine, asked] of last.books.asked.entries()) {
      const missing = (asked - (last.books.given[machine] ?? 0)) * took;
      this.#asked += asked * took;
      this.#missing += missing;
      if (last.books.migrating[machine] === 1) this.#lostToMigration += missing;
    }
  }

  measures(): Measures {
    const slatah = share(this.#shortSeconds, this.#activeSeconds);
    const pdm = share(this.#lostToMigration, this.#asked);
    return {
      energyKwh: this.#joules / joulesPerKwh,
      migrations: this.#migrations,
      slatah,
      full: share(this.#fullSeconds, this.#activeSeconds),
      pdm,
      slav: slatah * pdm,
      unserved: share(this.#missing, this.#asked),
      activeHosts: share(this.#activeSeconds, this.#seconds),
    };
  }
}

const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
