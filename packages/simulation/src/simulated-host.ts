/**
 * One simulated server of the data centre: hardware that has power or not, a kernel with files, libvirt with guests, and the real agent
 * as a process on it. What happens to it is done by its methods; what its agent does about that is the agent's.
 */
import {
  type Agent,
  type AgentPorts,
  type Dialer,
  type Identity,
  plugIn,
  simulatedGpu,
  SimulatedFiles,
  SimulatedHypervisor,
  SimulatedProcesses,
  startAgent,
} from "@sheaf/agent";
import type { Clock, Logger } from "@sheaf/base";
import type { LeaseGrant, PulseMessage } from "@sheaf/contract";
import { Chance } from "./chance.ts";
import { type BusyShare, GuestLoads } from "./guest-loads.ts";
import { HostFiles } from "./host-files.ts";
import { HypervisorModel, type HypervisorTimes } from "./hypervisor-model.ts";
import { Life } from "./life.ts";
import { processClock, rightClock } from "./process-clock.ts";
import { certificateOf } from "./sample-certificate.ts";
import { agentUrlOf, nodeOf, serverNode } from "./server-nodes.ts";
import { SimulatedInstallation, trialMs, type Version } from "./simulated-installation.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import { startSimulatedPulse } from "./simulated-pulse.ts";
import { SimulatedWatchdog, type WatchdogKind } from "./simulated-watchdog.ts";
import { readDisk, type Truth } from "./truth.ts";

const dataDirectory = "/var/lib/sheaf/agent";
const sharedPrefix = "/mnt/shared";
/** From the end of one to the first words of the next, as on a lab host. */
const agentRestartMs = 1000;
/** From a watchdog's reset to the agent's start. */
const resetMs = 40_000;
/** After what kept its pulse from being heard is over, this much may have been begun on account of it. */
const settlesInMs = 60_000;

export interface HostOptions {
  readonly name: string;
  readonly address: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly seed: number;
  readonly clock: Clock;
  readonly network: SimulatedNetwork;
  readonly truth: Truth;
  readonly times: HypervisorTimes;
  readonly shared: SimulatedFiles;
  /** Whether the shared storage keeps a second writer from a disk. */
  readonly sharedLocks: boolean;
  readonly logger: Logger;
  /** A host by its address or name. */
  readonly hostAt: (address: string) => SimulatedHost | null;
  readonly fetchImage: Dialer["fetchImage"];
  /** The version of the agent that the server carries now. */
  readonly carried: () => Version;
  readonly tellPulse: (host: SimulatedHost, message: PulseMessage) => Promise<LeaseGrant | null>;
  readonly tell: (text: string) => void;
  /** None unless said. */
  readonly watchdog?: WatchdogKind;
  readonly gpus?: number;
  /** Its watchdog was not petted in time, and resets it. */
  readonly reset?: (host: SimulatedHost) => void;
  /** Guests use so much of what they have, and figures of it are told; else nothing is ever used. */
  readonly busyShare?: BusyShare;
}

export class SimulatedHost {
  readonly name: string;
  readonly address: string;
  readonly memoryBytes: number;
  readonly files: HostFiles;
  readonly hypervisor: HypervisorModel;
  readonly clockError = rightClock();
  readonly installation: SimulatedInstallation;
  readonly network: SimulatedNetwork;
  readonly #watchdog: SimulatedWatchdog;
  /** By the host's own clock, for all its processes. */
  readonly #sinceBoot: () => number;
  /** Given when it joined the site. */
  id = "";
  powered = true;
  boot = 1;
  /** Somebody holds its power button: it does not come on before they let go. */
  heldOff = false;
  #hushedUntil = settlesInMs;
  #agentLife: Life | null = null;
  #agent: Agent | null = null;
  #agentRuns = 0;
  #pulseLife: Life | null = null;
  /** When its agent was last seen to work. */
  #agentWorkedAt = 0;
  readonly #guests = new Set<string>();
  /** Boot in which a machine ended here last. */
  readonly #endedIn = new Map<string, string>();
  readonly #options: HostOptions;

  constructor(options: HostOptions) {
    this.#options = options;
    this.name = options.name;
    this.installation = new SimulatedInstallation(options.carried());
    this.address = options.address;
    this.memoryBytes = options.memoryBytes;
    this.network = options.network;
    const { clock } = options;
    this.#sinceBoot = processClock(clock, this.clockError, new Life()).monotonic;
    this.#watchdog = new SimulatedWatchdog({ kind: options.watchdog ?? null, clock, fired: () => this.#reset() });
    const own = new SimulatedFiles({ ...hardware(options), ...this.#watchdog.files });
    const gpus = Array.from({ length: options.gpus ?? 0 }, (_, n) => simulatedGpu(n + 1, { mediatedTypes: { "nvidia-2": 2, "nvidia-4": 4 } }));
    if (gpus.length > 0) plugIn(own, gpus);
    this.files = new HostFiles(own, [[sharedPrefix, options.shared]], options.clock);
    const inner = new SimulatedHypervisor();
    const { truth } = options;
    this.hypervisor = new HypervisorModel(
      inner,
      {
        name: options.name,
        memoryBytes: options.memoryBytes,
        boot: () => this.boot,
        powered: () => this.powered,
        storageCut: () => this.files.storageCut,
        lockedBy: (machine) => this.#lockedBy(machine),
        memoryUsedBytes: () => truth.memoryOn(options.name),
        peer: (uri) => {
          const peer = options.hostAt(/^tcp:\/\/\[?([^\]]+?)\]?(?::\d+)?$/.exec(uri)?.[1] ?? "");
          return peer && this.network.reaches(this.name, peer.name) ? peer.hypervisor : null;
        },
        copyDisk: (path, to) => {
          const from = readDisk(this.files.text(path));
          const target = options.hostAt(to.host.name);
          if (from && target) target.files.put(path, JSON.stringify({ ...from, backing: readDisk(target.files.text(path))?.backing ?? null }));
        },
        tell: (text) => options.tell(`${options.name}: ${text}`),
      },
      { clock: options.clock, chance: new Chance(options.seed, `hypervisor ${options.name}`), times: options.times },
    );
    const { busyShare } = options;
    if (busyShare) {
      const { cpus, memoryBytes } = options;
      const loads = new GuestLoads({ cpus, memoryBytes, hypervisor: inner, put: (path, content) => own.put(path, content) }, clock, busyShare);
      this.hypervisor.statistics = () => loads.read();
    }
    inner.onChange = (uuid) => {
      const seen = this.hypervisor.seen(uuid);
      if (seen) this.#guests.add(uuid);
      else if (this.#guests.delete(uuid)) this.#endedIn.set(uuid, this.bootId);
      truth.update(uuid, this.name, seen && { ...seen, host: this.name, writes: seen.disks.map((path) => this.#disk(path)) });
      this.hypervisor.changed(uuid);
    };
  }

  get agentRuns(): boolean {
    return this.#agentLife?.alive ?? false;
  }

  get bootId(): string {
    return bootId(this.#options.seed, this.name, this.boot);
  }

  /** The machine was stopped here, or ended by itself, while the host went on: it did not go down with it. */
  endedInThisBoot(machine: string): boolean {
    return this.#endedIn.get(machine) === this.bootId;
  }

  /** Nothing has kept the server from hearing its pulse for a good while. */
  get seenToLive(): boolean {
    return this.powered && this.#options.clock.monotonic() > this.#hushedUntil;
  }

  hush(forMs: number): void {
    this.#hushedUntil = Math.max(this.#hushedUntil, this.#options.clock.monotonic() + forMs + settlesInMs);
  }

  get connected(): boolean {
    return this.#agent?.connected ?? false;
  }

  /** Ports of one more process of this host, for joining. */
  startAgent(): void {
    if (!this.powered || this.agentRuns || this.id === "") return;
    const onTrial = this.installation.begin();
    const life = new Life();
    this.#agentLife = life;
    this.#agentRuns += 1;
    this.#startPulse();
    if (onTrial) this.#watchTrial(life);
    if (this.installation.current.dies === true) return this.#restartAgent(life);
    const { clock, logger, seed } = this.#options;
    const ownClock = processClock(clock, this.clockError, life);
    const ports: AgentPorts = {
      clock: ownClock,
      sinceBoot: this.#sinceBoot,
      random: new Chance(seed, `agent ${this.name} ${this.#agentRuns}`).random,
      logger,
      files: life.port(this.files),
      processes: life.port(new SimulatedProcesses(this.files)),
      dialer: this.#dialer(life),
      sockets: { connect: async () => this.hypervisor.inner.serial() },
      hypervisor: this.hypervisor.connection(life),
      sendMagicPacket: async () => [],
      installation: this.installation.seenBy(life, ownClock, this.#options.carried, () => this.#restartAgent(life)),
    };
    life.atEnd(() => this.network.resetOf(life, this.name));
    startAgent(ports, {
      version: this.installation.current.version,
      dataDirectory,
      migrationCertificateDirectory: "/etc/pki/qemu",
      address: this.address,
      identity: this.#identity(),
    }).then(
      (agent) => (this.#agent = agent),
      // As a service manager does: what could not start is started again.
      (error: unknown) => {
        this.#options.tell(`${this.name}: the agent could not start: ${String(error)}`);
        this.crashAgent();
        this.#options.clock.setTimer(2000, () => this.startAgent());
      },
    );
  }

  /** The process ends, and its start script starts the next. */
  #restartAgent(life: Life): void {
    this.#options.clock.setTimer(agentRestartMs, () => {
      if (!life.alive) return;
      this.crashAgent();
      this.startAgent();
    });
  }

  #watchTrial(life: Life): void {
    this.#options.clock.setTimer(trialMs, () => {
      if (!life.alive || !this.installation.onTrial) return;
      this.crashAgent();
      this.installation.goBack("it was not connected to its server in time");
      this.startAgent();
    });
  }

  /** SIGKILL. @param afterSteps dies when it has got so many more answers of its ports */
  crashAgent(afterSteps = 0, died?: () => void): void {
    const life = this.#agentLife;
    if (!life?.alive) return;
    const die = (): void => {
      life.end();
      if (this.#agentLife === life) this.#agent = null;
      died?.();
    };
    if (afterSteps > 0) life.dieAfter(afterSteps, die);
    else die();
  }

  freezeAgent(): void {
    this.#agentLife?.freeze();
  }

  thawAgent(): void {
    this.#agentLife?.thaw();
  }

  /** All its programs stand still; its guests do not. */
  freeze(): void {
    this.freezeAgent();
    this.#pulseLife?.freeze();
  }

  thaw(): void {
    this.thawAgent();
    this.#pulseLife?.thaw();
  }

  #startPulse(): void {
    if (this.#pulseLife?.alive) return;
    const life = new Life();
    this.#pulseLife = life;
    const { clock, logger, tellPulse } = this.#options;
    this.#agentWorkedAt = clock.monotonic();
    startSimulatedPulse({
      ...{ life, logger, dataDirectory, files: this.files, hostId: this.id, bootId: this.bootId },
      clock: processClock(clock, this.clockError, life),
      tell: (message) => tellPulse(this, message),
      agent: () => {
        const now = clock.monotonic();
        if (this.agentRuns && !this.#agentLife?.frozen) this.#agentWorkedAt = now;
        return { silentMs: now - this.#agentWorkedAt, calm: this.#agent?.calm ?? false };
      },
      sinceBoot: this.#sinceBoot,
      watchdog: this.#watchdog,
    });
  }

  powerOff(): void {
    if (!this.powered) return;
    this.powered = false;
    // First the wire: a dying process of a dying host resets nothing.
    this.network.down(this.name);
    this.crashAgent();
    this.#pulseLife?.end();
    this.#watchdog.powerCycle();
    this.hypervisor.inner.powerCycle();
  }

  #reset(): void {
    if (!this.powered) return;
    this.#options.reset?.(this);
    this.powerOff();
    this.#options.clock.setTimer(resetMs, () => this.powerOn());
  }

  powerOn(): void {
    if (this.powered || this.heldOff) return;
    this.powered = true;
    this.hush(0);
    this.boot += 1;
    this.files.put("/proc/sys/kernel/random/boot_id", `${bootId(this.#options.seed, this.name, this.boot)}\n`);
    this.hypervisor.inner.connected = true;
    this.network.up(this.name);
    this.startAgent();
  }

  /** libvirtd ends; guests run on. */
  stopLibvirt(): void {
    this.hypervisor.inner.disconnect();
  }

  startLibvirt(): void {
    if (!this.hypervisor.inner.connected) this.hypervisor.inner.reconnect();
  }

  /** A running guest of this host, for things that happen to guests; `number` chooses. */
  guest(number: number): string | null {
    const active = this.hypervisor.inner.active().filter((uuid) => this.hypervisor.inner.stands(uuid)?.state === "running");
    return active.length === 0 ? null : (active[number % active.length] ?? null);
  }

  #disk(path: string) {
    return {
      path,
      place: path.startsWith(sharedPrefix) ? path : `${this.name}:${path}`,
      content: { read: () => this.files.text(path), write: (text: string) => this.files.put(path, text) },
    };
  }

  #lockedBy(machine: string): string | null {
    const disks = this.hypervisor.inner.description(machine)?.disks ?? [];
    for (const { path, readOnly } of disks) {
      const locks = this.#options.sharedLocks || !path.startsWith(sharedPrefix);
      const other = readOnly || !locks ? null : this.#options.truth.otherWriter(this.#disk(path).place, machine, this.name);
      if (other !== null) return other;
    }
    return null;
  }

  #identity(): Identity {
    return {
      hostId: this.id,
      serverUrl: agentUrlOf(serverNode),
      certificate: certificateOf(this.address),
      privateKey: "none",
      authority: certificateOf("0.0.0.0"),
    };
  }

  #dialer(life: Life): Dialer {
    const { fetchImage } = this.#options;
    return {
      fetchArchive: ({ serverUrl }) =>
        life.gate(
          this.network.reaches(this.name, nodeOf(serverUrl))
            ? Promise.resolve({ body: nothing() })
            : Promise.reject(new Error("connect: no route to the server")),
        ),
      dial: ({ serverUrl }, signal) => life.gate(this.network.dial(this.name, nodeOf(serverUrl), life, signal)),
      fetchImage: (identity, imageId, offset, signal) =>
        life.gate(
          this.network.reaches(this.name, nodeOf(identity.serverUrl))
            ? fetchImage(identity, imageId, offset, signal)
            : Promise.reject(new Error("connect: no route to the server")),
        ),
    };
  }
}

/** What an archive holds is played by the installation. */
async function* nothing(): AsyncGenerator<Uint8Array> {}

const bootId = (seed: number, name: string, boot: number): string => `boot-${seed}-${name}-${boot}`;

function hardware({ seed, name, cpus, memoryBytes }: HostOptions): Record<string, string> {
  const kib = Math.floor(memoryBytes / 1024);
  const processor = (index: number): string =>
    `processor\t: ${index}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC (simulated)\ncpu MHz\t\t: 2500\nflags\t\t: fpu sse svm\n`;
  return {
    "/proc/sys/kernel/random/boot_id": `${bootId(seed, name, 1)}\n`,
    "/proc/sys/kernel/hostname": `${name}\n`,
    "/proc/cpuinfo": Array.from({ length: cpus }, (_, index) => processor(index)).join("\n"),
    "/proc/meminfo": `MemTotal: ${kib} kB\nMemAvailable: ${Math.floor(kib * 0.9)} kB\n`,
    "/proc/stat": "cpu  10 0 10 80 0 0 0 0\nbtime 1767225600\n",
    "/sys/class/net/br0/bridge/stp_state": "0",
    "/sys/class/net/br0/operstate": "up",
  };
}
