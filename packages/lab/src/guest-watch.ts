/**
 * Watches that no machine runs twice, on the processes of all hosts and nothing else: neither libvirt nor Sheaf is asked. During a live
 * migration two QEMUs of one machine are right, as long as the CPUs of one alone turn: what a CPU has run is read from the time that
 * its thread has used. Called by tests, for as long as they break things.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { namespacePath } from "./process-table.ts";

/** One look at one QEMU. */
export interface GuestSample {
  /** Number and start of the process: numbers are used again. */
  readonly process: string;
  readonly host: string;
  readonly uuid: string;
  /** Time that the threads of its virtual CPUs have run, ms. */
  readonly cpuMs: number;
}

/** A CPU that stands still is woken now and then to look whether it still must; an idle guest's runs several ms in every second. */
const ranMs = 5;

interface Seen {
  readonly process: string;
  readonly host: string;
  readonly uuid: string;
  /** CPU time from which on it is judged. */
  fromMs: number;
  /** Number of the last look at which it had run. */
  ranAt: number;
  /** Another copy has run since, this one not: it must stand still from then on. */
  passed: boolean;
}

/** Judges looks, one after the other. Pure but for what it remembers. */
export class GuestJudge {
  readonly #seen = new Map<string, Seen>();
  readonly #violations: string[] = [];
  #look = 0;

  /** What was seen, each as a sentence. */
  get violations(): readonly string[] {
    return this.#violations;
  }
  get looks(): number {
    return this.#look;
  }

  look(samples: readonly GuestSample[]): void {
    this.#look += 1;
    const alive = new Set(samples.map(({ process }) => process));
    for (const process of this.#seen.keys()) if (!alive.has(process)) this.#seen.delete(process);
    const ran = new Map<Seen, number>();
    for (const { process, host, uuid, cpuMs } of samples) {
      const seen = this.#seen.get(process);
      if (!seen) this.#seen.set(process, { process, host, uuid, fromMs: cpuMs, ranAt: 0, passed: false });
      else if (cpuMs - seen.fromMs >= ranMs) ran.set(seen, cpuMs);
    }
    const now = new Map(samples.map(({ process, cpuMs }) => [this.#seen.get(process), cpuMs]));
    for (const one of ran.keys()) {
      if (one.passed) this.#violations.push(`machine ${one.uuid} ran on ${one.host} after another copy of it had run, which is still there`);
      for (const other of this.#seen.values()) {
        if (other === one || other.uuid !== one.uuid || other.ranAt === 0) continue;
        if (!ran.has(other)) {
          if (!other.passed) other.fromMs = now.get(other) ?? other.fromMs;
          other.passed = true;
        } else if (other.process < one.process && other.ranAt === this.#look - 1 && one.ranAt === other.ranAt) {
          // Within one look the one may have handed over to the other; not twice in a row.
          this.#violations.push(`machine ${one.uuid} ran on ${other.host} and on ${one.host} at a time`);
        }
      }
      one.passed = false;
    }
    for (const [one, cpuMs] of ran) {
      one.ranAt = this.#look;
      one.fromMs = cpuMs;
    }
  }
}

export interface GuestWatch {
  readonly violations: readonly string[];
  readonly looks: number;
  stop(): void;
}

interface WatchedHost {
  readonly name: string;
  /** Its network namespace. */
  readonly namespace: string;
}

export function watchGuestsOf(hosts: readonly WatchedHost[], everyMs = 100): GuestWatch {
  const judge = new GuestJudge();
  const timer = setInterval(() => judge.look(guestSamples(hosts)), everyMs);
  return {
    get violations() {
      return judge.violations;
    },
    get looks() {
      return judge.looks;
    },
    stop: () => clearInterval(timer),
  };
}

/** Synchronous: a look is as near to one moment as can be. */
function guestSamples(hosts: readonly WatchedHost[]): GuestSample[] {
  const names = new Map<string, string>();
  for (const { name, namespace } of hosts) {
    const inode = attempt(() => statSync(namespacePath(namespace)).ino);
    if (inode !== undefined) names.set(`net:[${inode}]`, name);
  }
  return readdirSync("/proc").flatMap((pid): GuestSample[] => {
    if (!/^\d+$/.test(pid)) return [];
    const found = attempt(() => {
      const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      if (!/(^|\/)qemu-/.test(argv[0] ?? "") || !argv.includes("-uuid")) return undefined;
      const host = names.get(readlinkSync(`/proc/${pid}/ns/net`));
      if (host === undefined) return undefined;
      const startedAt =
        readFileSync(`/proc/${pid}/stat`, "utf8")
          .replace(/^.*\) /, "")
          .split(" ")[19] ?? "";
      return { process: `${pid}@${startedAt}`, host, uuid: argv[argv.indexOf("-uuid") + 1] ?? "", cpuMs: cpuMsOf(pid) };
    });
    return found ? [found] : [];
  });
}

function cpuMsOf(pid: string): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const folder = `/proc/${pid}/task/${thread}`;
    // QEMU names the threads of virtual CPUs: `CPU 0/KVM`, `CPU 0/TCG`.
    if (attempt(() => readFileSync(`${folder}/comm`, "utf8"))?.startsWith("CPU "))
      nanoseconds += Number(readFileSync(`${folder}/schedstat`, "utf8").split(" ")[0]);
  }
  return nanoseconds / 1e6;
}

/** A process may end while it is looked at. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
