/**
 * What is really so in the simulated data centre, whatever anybody believes: where each guest's CPUs run, who writes which disk, what the
 * newest content of each disk is. Fed by the hypervisors at every change; says at once when a promise is broken. No product code sees it.
 */
import { SimulatedDisk } from "@sheaf/agent";

export interface RunningGuest {
  readonly machine: string;
  readonly host: string;
  /** Its CPUs run. */
  readonly runs: boolean;
  /** Disks it holds open for writing, with where their bytes lie. */
  readonly writes: readonly { readonly path: string; readonly place: string; readonly content: DiskContent }[];
  /** Memory its QEMU holds. */
  readonly memoryBytes: number;
}

export interface DiskContent {
  read(): string | null;
  write(text: string): void;
}

export class Truth {
  /** By machine, then host. */
  readonly #guests = new Map<string, Map<string, RunningGuest>>();
  readonly #writers = new Map<string, { readonly host: string; readonly machine: string }>();
  /** Newest content of each disk, by file name: volumes keep theirs wherever they are moved. */
  readonly #written = new Map<string, number>();
  readonly #memory = new Map<string, number>();
  /** How often the CPUs of a machine were started on some host, and at which of those starts each host's copy of its memory ran last. */
  readonly #starts = new Map<string, { count: number; last: string; readonly copies: Map<string, number> }>();
  readonly #broken: (what: string) => void;
  /** Names machines for people. */
  readonly #name: (machine: string) => string;

  constructor(broken: (what: string) => void, name: (machine: string) => string) {
    this.#broken = broken;
    this.#name = name;
  }

  /** Replaces what is known of this machine on this host. `null`: nothing of it is there. */
  update(machine: string, host: string, now: RunningGuest | null): void {
    const hosts = this.#guests.get(machine);
    const before = hosts?.get(host) ?? null;
    if (before) this.#memory.set(host, (this.#memory.get(host) ?? 0) - before.memoryBytes);
    if (now) this.#memory.set(host, (this.#memory.get(host) ?? 0) + now.memoryBytes);
    for (const { place } of before?.writes ?? []) {
      if (now?.writes.some((disk) => disk.place === place)) continue;
      const writer = this.#writers.get(place);
      if (writer?.host === host && writer.machine === machine) this.#writers.delete(place);
    }
    for (const disk of now?.writes ?? []) if (!before?.writes.some(({ place }) => place === disk.place)) this.#opened(machine, host, disk);
    if (now) {
      if (hosts) hosts.set(host, now);
      else this.#guests.set(machine, new Map([[host, now]]));
    } else if (hosts?.delete(host) && hosts.size === 0) this.#guests.delete(machine);
    this.#lineage(machine, host, now);
    const running = this.runningOn(machine);
    if (now?.runs && running.length > 1) this.#broken(`${this.#name(machine)} runs on ${running.join(" and on ")} at the same time`);
  }

  /** Hosts on which its CPUs run. */
  runningOn(machine: string): string[] {
    return [...(this.#guests.get(machine)?.values() ?? [])].filter(({ runs }) => runs).map(({ host }) => host);
  }

  memoryOn(host: string): number {
    return this.#memory.get(host) ?? 0;
  }

  /** Who holds it open, if not this one: what a disk's lock would say. */
  otherWriter(place: string, machine: string, host: string): string | null {
    const writer = this.#writers.get(place);
    return writer && (writer.machine !== machine || writer.host !== host) ? `${this.#name(writer.machine)} on ${writer.host}` : null;
  }

  /** Machines that are somewhere, for checks at the end. */
  machines(): string[] {
    return [...this.#guests.keys()];
  }

  /** A copy that stood still while another ran on must never run again: its memory is older than its disks. */
  #lineage(machine: string, host: string, now: RunningGuest | null): void {
    const starts = this.#starts.get(machine) ?? { count: 0, last: "", copies: new Map<string, number>() };
    if (!now) {
      starts.copies.delete(host);
      if (starts.copies.size === 0) this.#starts.delete(machine);
      return;
    }
    if (!now.runs) return;
    const ranAt = starts.copies.get(host);
    if (ranAt !== undefined && ranAt < starts.count)
      this.#broken(`${this.#name(machine)} goes on on ${host} from memory that stood still while it ran on ${starts.last}`);
    if (starts.last !== host || ranAt === undefined) starts.count += 1;
    starts.last = host;
    starts.copies.set(host, starts.count);
    this.#starts.set(machine, starts);
  }

  #opened(machine: string, host: string, disk: RunningGuest["writes"][number]): void {
    const other = this.otherWriter(disk.place, machine, host);
    if (other) this.#broken(`${disk.path} is written by ${this.#name(machine)} on ${host} while ${other} writes it too`);
    this.#writers.set(disk.place, { host, machine });
    const name = disk.path.slice(disk.path.lastIndexOf("/") + 1);
    const content = readDisk(disk.content.read());
    const known = this.#written.get(name) ?? 0;
    if (!content) return this.#broken(`${this.#name(machine)} on ${host} starts without its disk ${disk.path}`);
    const found = Number(content.data.split(" ").at(-1) || 0) || 0;
    if (found < known)
      this.#broken(`${this.#name(machine)} on ${host} runs from an old copy of ${disk.path}: write ${found}, the newest is ${known}`);
    // The guest writes: from now on every other copy is the past.
    disk.content.write(JSON.stringify({ ...content, data: `write ${known + 1}` }));
    this.#written.set(name, known + 1);
  }
}

export function readDisk(text: string | null): { format: string; sizeBytes: number; backing: string | null; data: string } | null {
  if (text === null) return null;
  try {
    return SimulatedDisk.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
