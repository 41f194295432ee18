/**
 * The hypervisor of one simulated host in time: how long its steps take, how guests boot, shut down and crash, how memory is copied, what
 * libvirt refuses, and where it lies (an answer that never comes for a step that is done later). State and manners are those of
 * `SimulatedHypervisor`; this is what lies between it and an agent. Outlives agents: guests run on without one.
 */
import {
  type DomainStatistics,
  type Hypervisor,
  HypervisorError,
  type HypervisorEvent,
  type JobFigures,
  type MigrationOptions,
  type MigrationSession,
} from "@sheaf/agent";
import type { SimulatedHypervisor } from "@sheaf/agent";
import { type Clock, sleep } from "@sheaf/base";
import type { Chance } from "./chance.ts";
import { type Life, never } from "./life.ts";
import type { RunningGuest } from "./truth.ts";

/** Times in ms. `defaultTimes` keep to what the lab's hosts do, within the factors of `calibration.ts`; a lab test measures and compares. */
export interface HypervisorTimes {
  readonly define: number;
  readonly start: number;
  readonly destroy: number;
  readonly other: number;
  /** From the start of its CPUs until its agent answers. */
  readonly boot: readonly [least: number, most: number];
  /** From the press of the power button. */
  readonly shutdown: readonly [least: number, most: number];
  /** Of each of the steps that end a migration. */
  readonly finish: readonly [least: number, most: number];
  readonly migrationBytesPerSecond: number;
  /** Share of a guest's memory that it changes in a second. */
  readonly dirtyShare: readonly [least: number, most: number];
}

export const defaultTimes: HypervisorTimes = {
  define: 8,
  start: 350,
  destroy: 120,
  other: 10,
  boot: [4000, 12_000],
  shutdown: [1500, 6000],
  finish: [30, 600],
  migrationBytesPerSecond: 2 ** 30,
  dirtyShare: [0, 0.2],
};

/** Changed by faults. */
export interface HypervisorFaults {
  /** Share of steps that are refused. */
  refuses: number;
  /** Share of steps that get no answer in time; half of them are done all the same, some of them late. */
  lies: number;
}

export interface HypervisorHost {
  readonly name: string;
  readonly memoryBytes: number;
  /** Of this boot; nothing that was begun in an earlier one goes on. */
  boot(): number;
  powered(): boolean;
  /** The shared storage cannot be reached. */
  storageCut(): boolean;
  /** What another would see of a disk's lock; `null`: free. */
  lockedBy(machine: string): string | null;
  memoryUsedBytes(): number;
  /** The host that listens at this address and can be reached from here. */
  peer(uri: string): HypervisorModel | null;
  copyDisk(path: string, to: HypervisorModel): void;
  tell(text: string): void;
}

const answerMs = 15_000;

const acting = new Set([
  "define",
  "undefine",
  "start",
  "destroy",
  "reboot",
  "reset",
  "suspend",
  "resume",
  "attachDevice",
  "detachDevice",
  "updateDevice",
  "setVcpus",
  "setMemory",
  "resizeDisk",
  "setDiskLimits",
  "setScheduler",
  "setMark",
]);

interface Copying {
  readonly beganAt: number;
  readonly totalBytes: number;
  readonly durationMs: number;
  aborted: boolean;
}

export class HypervisorModel {
  readonly inner: SimulatedHypervisor;
  readonly host: HypervisorHost;
  readonly faults: HypervisorFaults = { refuses: 0, lies: 0 };
  readonly times: HypervisorTimes;
  /** What guests have used so far; `null`: nobody asks. */
  statistics: (() => readonly DomainStatistics[]) | null = null;
  readonly #clock: Clock;
  readonly #chance: Chance;
  /** Guests whose system has come up, with the number of that start. */
  readonly #booted = new Map<string, number>();
  readonly #starts = new Map<string, number>();
  readonly #copying = new Map<string, Copying>();

  /** @param clock true time */
  constructor(inner: SimulatedHypervisor, host: HypervisorHost, options: { clock: Clock; chance: Chance; times: HypervisorTimes }) {
    this.inner = inner;
    this.host = host;
    this.times = options.times;
    this.#clock = options.clock;
    this.#chance = options.chance;
  }

  /** libvirt as one agent's process sees it. */
  connection(life: Life): Hypervisor {
    const listeners: (() => void)[] = [];
    const steps: Partial<Hypervisor> = {
      shutdown: (uuid) => this.#step("shutdown", uuid, async () => this.#press(uuid)),
      migration: async (uuid) => this.#session(uuid, await this.inner.migration(uuid)),
      job: async (uuid, which) => this.#job(uuid, which),
      abortJob: async (uuid) => this.#abort(uuid),
      guestFacts: async (uuid) => (this.#booted.has(uuid) ? { hostname: this.inner.live(uuid)?.name ?? "", addresses: [] } : null),
      subscribe: (listener) => {
        const end = this.inner.subscribe((event: HypervisorEvent) => life.run(() => listener(event)));
        listeners.push(end);
        return end;
      },
      facts: async () => ({ ...(await this.inner.facts()), ...facts }),
      statistics: async () => this.statistics?.() ?? this.inner.statistics(),
    };
    life.atEnd(() => {
      for (const end of listeners) end();
      // The connection goes with the process, and with it what libvirt had begun for it.
      this.inner.close();
    });
    const proxy = new Proxy(this.inner, {
      get: (inner, name) => {
        const own: unknown = Reflect.get(steps, name);
        if (own !== undefined) return own;
        const member: unknown = Reflect.get(inner, name);
        if (typeof member !== "function") return member;
        if (typeof name === "string" && acting.has(name))
          return (...words: unknown[]) => this.#step(name, subject(name, words), async () => Reflect.apply(member, inner, words));
        return member.bind(inner);
      },
    });
    return life.port<Hypervisor>(proxy);
  }

  /** What is really there of one machine. */
  seen(uuid: string): (Omit<RunningGuest, "host" | "writes"> & { readonly disks: readonly string[] }) | null {
    const stands = this.inner.stands(uuid);
    const live = this.inner.live(uuid);
    if (!stands || !live) return null;
    const moving = stands.state === "paused" && (stands.reason === "migration" || stands.reason === "starting-up");
    return {
      machine: uuid,
      runs: stands.state === "running",
      // QEMU lets go of its disks when its memory has left, and takes them when it is let go on.
      disks: moving ? [] : live.disks.filter((disk) => !disk.readOnly).map(({ path }) => path),
      memoryBytes: live.memory.maximumBytes ?? live.memory.currentBytes,
    };
  }

  /** To be called after each change of a domain. */
  changed(uuid: string): void {
    if (this.inner.stands(uuid)?.state === "running" && this.inner.live(uuid)) {
      if (!this.#starts.has(uuid)) this.#boot(uuid);
    } else if (!this.inner.live(uuid)) {
      this.#starts.delete(uuid);
      this.#booted.delete(uuid);
    }
  }

  /** The guest's system has come up. */
  isBooted(uuid: string): boolean {
    return this.#booted.has(uuid);
  }

  #boot(uuid: string): void {
    const arrived = this.inner.stands(uuid)?.reason === "migrated";
    const start = this.#chance.between(1, 2 ** 30);
    this.#starts.set(uuid, start);
    const up = (): void => {
      if (this.#starts.get(uuid) !== start || !this.host.powered()) return;
      this.#booted.set(uuid, start);
      this.inner.emit({ type: "guest-agent", uuid, connected: true });
    };
    this.#clock.setTimer(arrived ? 200 : this.#chance.between(...this.times.boot), up);
  }

  /** A guest that boots does not hear it. */
  #press(uuid: string): void {
    if (!this.inner.live(uuid)) throw new HypervisorError("refused", "Requested operation is not valid: domain is not running");
    const start = this.#booted.get(uuid);
    if (start === undefined || this.inner.deaf.has(uuid)) return;
    this.#clock.setTimer(this.#chance.between(...this.times.shutdown), () => {
      if (this.#booted.get(uuid) === start && this.inner.stands(uuid)?.state === "running") this.inner.stop(uuid, "shutdown");
    });
  }

  async #step<T>(name: string, uuid: string, work: () => Promise<T>): Promise<T> {
    this.inner.calls.length = 0;
    const boot = this.host.boot();
    if (this.#chance.happens(this.faults.lies)) return this.#lie(name, uuid, work);
    return this.#halves(boot, this.#duration(name), () => {
      if (this.#chance.happens(this.faults.refuses)) throw new HypervisorError("refused", `internal error: ${name} failed (simulated)`);
      if (name === "start") this.#mayStart(uuid);
      return work();
    });
  }

  /** What is done is done somewhere within the time that the answer takes: whoever dies in between does not hear of it. */
  async #halves<T>(boot: number, durationMs: number, work: () => Promise<T>): Promise<T> {
    const beforeMs = this.#chance.between(1, durationMs);
    await sleep(this.#clock, beforeMs);
    // The host lost its power meanwhile: nobody is there to answer.
    if (this.host.boot() !== boot || !this.host.powered()) return never();
    const result = await work();
    if (durationMs > beforeMs) await sleep(this.#clock, durationMs - beforeMs);
    return this.host.boot() !== boot || !this.host.powered() ? never() : result;
  }

  async #lie<T>(name: string, uuid: string, work: () => Promise<T>): Promise<T> {
    const boot = this.host.boot();
    if (this.#chance.happens(0.5)) {
      // Done at once, or after everybody has given up on it.
      this.#clock.setTimer(this.#chance.happens(0.5) ? 20 : answerMs + this.#chance.between(0, 20_000), () => {
        if (this.host.boot() !== boot || !this.host.powered()) return;
        this.host.tell(`libvirt did ${name} although it had not answered`);
        try {
          if (name === "start") this.#mayStart(uuid);
          void work().catch(() => {});
        } catch {
          // It could not be done any more.
        }
      });
    }
    await sleep(this.#clock, answerMs);
    throw new HypervisorError("timed-out", `libvirt did not answer ${name} within ${answerMs} ms`);
  }

  #duration(name: string): number {
    switch (name) {
      case "define":
      case "start":
      case "destroy":
        return this.#chance.between(this.times[name], this.times[name] * 2);
      default:
        return this.times.other;
    }
  }

  #mayStart(uuid: string): void {
    const memory = this.inner.description(uuid)?.memory;
    const memoryBytes = memory?.maximumBytes ?? memory?.currentBytes ?? 0;
    if (this.host.memoryUsedBytes() + memoryBytes > this.host.memoryBytes)
      throw new HypervisorError(
        "refused",
        "internal error: process exited while connecting to monitor: cannot set up guest memory: Cannot allocate memory",
      );
    if (this.host.storageCut() && this.inner.description(uuid)?.disks.some(({ path }) => path.startsWith("/mnt/shared")))
      throw new HypervisorError("refused", "Cannot access storage file: Input/output error");
    const other = this.host.lockedBy(uuid);
    if (other === null) return;
    this.host.tell(`a disk's lock kept ${uuid} from starting: ${other} writes it`);
    throw new HypervisorError(
      "refused",
      `internal error: process exited while connecting to monitor: Failed to get "write" lock: is another process using the image? (${other})`,
    );
  }

  #session(uuid: string, inner: MigrationSession): MigrationSession {
    const paced = async <T>(what: string, ms: number, work: () => Promise<T>): Promise<T> => {
      const lies = this.#chance.happens(this.faults.lies);
      const result = await this.#halves(this.host.boot(), ms, async () => {
        if (!inner.open) throw new HypervisorError("disconnected", "the connection to libvirtd that carried the migration was lost");
        if (this.#chance.happens(this.faults.refuses)) throw new HypervisorError("refused", `operation failed: ${what} (simulated)`);
        return lies && this.#chance.happens(0.5) ? null : work();
      });
      if (result !== null && !lies) return result;
      // Perhaps done, and nobody hears of it.
      await sleep(this.#clock, answerMs);
      throw new HypervisorError("timed-out", `libvirt did not answer ${what}`);
    };
    let target: HypervisorModel | null = null;
    return {
      get open() {
        return inner.open;
      },
      begin: (options) => paced("begin", 60, () => inner.begin(options)),
      prepare: async (options, xml, cookie) => {
        const { cookie: next } = await paced("prepare", 400, () => inner.prepare(options, xml, cookie));
        return { cookie: next, uri: options.uri ?? "" };
      },
      perform: async (options, xml, cookie, timeoutMs) => {
        target = await this.#copy(uuid, inner, options);
        const peer = target;
        return paced("perform", this.#chance.between(...this.times.finish), async () => {
          const next = await inner.perform(options, xml, cookie, timeoutMs);
          const copied = this.inner.live(uuid)?.disks.filter((disk) => options.copyDisks.includes(disk.target)) ?? [];
          for (const disk of copied) this.host.copyDisk(disk.path, peer);
          return next;
        });
      },
      finish: (options, cookie, cancelled) =>
        paced("finish", this.#chance.between(...this.times.finish), () => inner.finish(options, cookie, cancelled)),
      confirm: (options, cookie, cancelled) =>
        paced("confirm", this.#chance.between(...this.times.finish), () => inner.confirm(options, cookie, cancelled)),
      close: () => inner.close(),
    };
  }

  /** Copies memory in rounds while the guest runs; ends when the target takes the rest. */
  async #copy(uuid: string, session: MigrationSession, options: MigrationOptions): Promise<HypervisorModel> {
    const live = this.inner.live(uuid);
    if (!live) throw new HypervisorError("refused", "Requested operation is not valid: domain is not running");
    const rate = Math.min(this.times.migrationBytesPerSecond, options.bandwidthBytesPerSecond || Number.POSITIVE_INFINITY);
    const dirtyShare = this.#chance.between(this.times.dirtyShare[0] * 1000, this.times.dirtyShare[1] * 1000) / 1000;
    const once = (live.memory.currentBytes / rate) * 1000;
    // Each round copies what the one before left: a geometric row, as long as less is changed than copied.
    const share = Math.min(0.9, (dirtyShare * live.memory.currentBytes) / rate);
    const copying: Copying = {
      beganAt: this.#clock.monotonic(),
      totalBytes: live.memory.currentBytes,
      durationMs: Math.max(200, Math.round(once / (1 - share))),
      aborted: false,
    };
    this.#copying.set(uuid, copying);
    try {
      const boot = this.host.boot();
      for (let left = copying.durationMs; left > 0; left -= 500) {
        const peer = this.host.peer(options.uri ?? "");
        if (!peer?.incoming(uuid))
          throw new HypervisorError("refused", "operation failed: migration failed: Unable to write to socket: Connection reset by peer");
        await sleep(this.#clock, Math.min(500, left));
        if (this.host.boot() !== boot || !this.host.powered()) return await never();
        if (copying.aborted) throw new HypervisorError("refused", "operation aborted: migration out job: canceled by client");
        if (!session.open) throw new HypervisorError("disconnected", "the connection to libvirtd that carried the migration was lost");
        if (this.inner.stands(uuid)?.state !== "running") throw new HypervisorError("refused", "operation failed: domain is not running");
      }
      const peer = this.host.peer(options.uri ?? "");
      if (!peer?.incoming(uuid)) throw new HypervisorError("refused", "operation failed: migration failed: Connection reset by peer");
      return peer;
    } finally {
      this.#copying.delete(uuid);
    }
  }

  /** A QEMU waits here for that guest's memory. */
  incoming(uuid: string): boolean {
    const stands = this.inner.stands(uuid);
    return this.host.powered() && stands?.state === "paused" && stands.reason === "starting-up";
  }

  #abort(uuid: string): void {
    const copying = this.#copying.get(uuid);
    if (copying) copying.aborted = true;
  }

  async #job(uuid: string, which: "running" | "completed"): Promise<JobFigures | null> {
    const copying = this.#copying.get(uuid);
    if (which === "running" && !copying) return null;
    const elapsedMs = copying ? this.#clock.monotonic() - copying.beganAt : 1000;
    const totalBytes = copying?.totalBytes ?? 0;
    const processedBytes = copying ? Math.round(totalBytes * Math.min(1, elapsedMs / copying.durationMs)) : totalBytes;
    return {
      elapsedMs,
      totalBytes,
      processedBytes,
      remainingBytes: totalBytes - processedBytes,
      memoryBytes: processedBytes,
      diskBytes: 0,
      bytesPerSecond: this.times.migrationBytesPerSecond,
      iterations: 2,
      downtimeMs: 90,
    };
  }
}

const subject = (name: string, words: readonly unknown[]): string => (name === "define" ? "" : String(words[0]));

const facts = {
  capabilitiesXml: `<capabilities><host><uuid>11111111-2222-4333-8444-555555555555</uuid><cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor><topology sockets='1' dies='1' cores='8' threads='2'/></cpu></host><guest><os_type>hvm</os_type><arch name='x86_64'><wordsize>64</wordsize><emulator>/usr/bin/qemu-system-x86_64</emulator><machine>q35</machine><machine>pc</machine><domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>`,
  domainCapabilitiesXml: `<domainCapabilities><domain>kvm</domain><arch>x86_64</arch><os supported='yes'/><cpu><mode name='host-passthrough' supported='yes'/><mode name='custom' supported='yes'><model usable='yes'>qemu64</model><model usable='yes'>EPYC</model></mode></cpu></domainCapabilities>`,
  cpuModels: ["qemu64", "EPYC"],
};
