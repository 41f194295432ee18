/**
 * What the agent needs of the world around it. Reconcilers know these and nothing behind them: `apps/agent/main.ts` hands in the
 * real sides (libvirt, disk, programs, a WebSocket), tests and the simulator their own.
 */
import type { Clock, Logger, Random } from "@sheaf/base";
import type { UpgradeOrder } from "@sheaf/contract";
import type { DomainDescription, MachineMetadata } from "@sheaf/domain-xml";

/** Files of the host. `adapters`' NodeFiles is one. */
export interface Files {
  /** @returns `null` when there is no such file. */
  readText(path: string): Promise<string | null>;
  /** @returns `null` when there is no such file. */
  read(path: string): Promise<Uint8Array | null>;
  /** The whole file or none of it, also after a loss of power. Mode 0600 unless given. */
  writeAtomic(path: string, content: string | Uint8Array, options?: { mode?: number }): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Resolves when all that was written to it is on the disk, whoever wrote it. */
  syncFile(path: string): Promise<void>;
  makeDirectory(path: string, mode?: number): Promise<void>;
  /** A file, or a directory with all in it. What is not there is no error. */
  remove(path: string): Promise<void>;
  /** Names in a directory, sorted; none when there is no such directory. */
  list(path: string): Promise<string[]>;
  facts(path: string): Promise<{ readonly sizeBytes: number; readonly directory: boolean; readonly modifiedAt: number } | null>;
  /** Opens for writing at `offset`, made when it is not there; what lies behind is cut off. */
  writer(path: string, offset?: number, mode?: number): Promise<FileWriter>;
  stream(path: string): AsyncIterable<Uint8Array>;
  /** Size of the file system that holds `path` and what may still be written there, bytes. */
  space(path: string): Promise<{ readonly capacityBytes: number; readonly availableBytes: number }>;
  /** What a symbolic link names, or `null`. */
  readLink(path: string): Promise<string | null>;
}

export interface FileWriter {
  write(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Programs of the host: qemu-img, ip. No shell in between. */
export interface Processes {
  /** @throws when it could not be started, or did not end before the deadline (it is killed then). An exit code is no error here. */
  run(
    program: string,
    programArguments: readonly string[],
    options: { readonly deadlineMs: number; readonly signal?: AbortSignal },
  ): Promise<ProcessResult>;
}

/** Watchdog devices of the host. Both calls end at once: nothing may come between a decision to pet and the write. */
export interface Watchdogs {
  /** Arms it. @throws where it is not there, or another program holds it */
  open(path: string): OpenWatchdog;
}

export interface OpenWatchdog {
  /** @throws where it cannot be written to */
  pet(): void;
  /** Closes it so that it does not fire, where its driver lets that be (`nowayout`). */
  disarm(): void;
  /** Closes it armed. */
  abandon(): void;
}

export interface ProcessResult {
  readonly exitCode: number | null;
  readonly output: string;
  readonly errorOutput: string;
}

/** A connection to the server. `adapters`' MessageSocket is one. */
export interface ServerSocket {
  /** Texts and bytes leave in order. Ignored after closing. */
  send(data: string | Uint8Array): void;
  readonly unsentBytes: number;
  /** The answer is `alive`. */
  ping(): void;
  close(code: number, reason: string): void;
  /** Cuts at once. */
  cut(): void;
  /** What came before is kept for it, the end too. */
  listen(handlers: SocketHandlers): void;
}

export interface SocketHandlers {
  text(text: string): void;
  bytes(bytes: Uint8Array): void;
  alive(): void;
  drained(): void;
  closed(code: number, reason: string): void;
}

/** The way to the server: mutual TLS with what `Identity` holds. */
export interface Dialer {
  dial(identity: Identity, signal: AbortSignal): Promise<ServerSocket>;
  /** The bytes of an archive of the agent. */
  fetchArchive(identity: Identity, sha256: string, signal: AbortSignal): Promise<{ readonly body: AsyncIterable<Uint8Array> }>;
  /** The bytes of an image from `offset` on. `totalBytes` of the whole where the server says it. */
  fetchImage(
    identity: Identity,
    imageId: string,
    offset: number,
    signal: AbortSignal,
  ): Promise<{ readonly offset: number; readonly totalBytes?: number; readonly body: AsyncIterable<Uint8Array> }>;
}

/** How this agent lies on its host, and how another version takes its place. `ArchiveInstallation` is the real one. */
export interface Installation {
  /** `linux-x64` */
  readonly platform: string;
  /** SHA-256 of the archive that it runs from; `undefined`: it runs from source files. */
  readonly archive: string | undefined;
  /** Why no other version can take its place by its server's order. */
  readonly fixed: string | undefined;
  /** Whether this very version has yet to prove itself. */
  onTrial(): Promise<boolean>;
  /** Why the version that this order brought was given up, where that was so. */
  givenUp(order: string): Promise<string | null>;
  /** Puts the archive beside the present version, whole and as ordered, or nothing. @throws SheafError `no-capacity`, `unavailable`, `upgrade-failed` */
  fetch(order: UpgradeOrder, body: AsyncIterable<Uint8Array>, received: (bytes: number) => void, signal: AbortSignal): Promise<void>;
  /** Unpacks it and has the new version try itself. @throws SheafError `no-capacity`, `upgrade-failed` */
  prepare(order: UpgradeOrder, signal: AbortSignal): Promise<void>;
  /** From now on the next start is the new version's, on trial. */
  switchTo(order: UpgradeOrder): Promise<void>;
  /** This version stays: the trial is over, and older versions than the one before go. */
  prove(): Promise<void>;
  /** Ends this process, to be started again at once. */
  restart(): void;
}

/** Who this host is. Written at joining, renewed before its end; the key never leaves the host. */
export interface Identity {
  readonly hostId: string;
  /** `https://name:7444`, the agents' port, without a slash at the end. */
  readonly serverUrl: string;
  /** PEM. */
  readonly certificate: string;
  readonly privateKey: string;
  readonly authority: string;
}

export type DomainState = "running" | "paused" | "stopping" | "stopped" | "crashed";

/** Why a domain is in its state, as far as it matters for what to do next. */
export type DomainReason =
  | "unknown"
  | "booted"
  | "migrated"
  | "user"
  | "migration"
  | "post-copy"
  | "post-copy-failed"
  | "io-error"
  | "starting-up"
  | "shutdown"
  | "destroyed"
  | "crashed"
  | "failed"
  | "saved"
  | "other";

/** What Sheaf writes into a domain's metadata: by this its domains are found again. */
export type DomainMark = MachineMetadata;

export interface Domain {
  readonly uuid: string;
  readonly name: string;
  readonly state: DomainState;
  readonly reason: DomainReason;
  readonly persistent: boolean;
  /** Absent: not Sheaf's, never to be touched. */
  readonly mark?: DomainMark;
}

export type HypervisorEvent =
  | {
      readonly type: "lifecycle";
      readonly uuid: string;
      readonly event: "defined" | "undefined" | "started" | "suspended" | "resumed" | "stopped" | "shutdown" | "crashed" | "other";
      /** `guest` or `host` for `shutdown`; a `DomainReason` for others. */
      readonly detail: DomainReason | "guest" | "host";
    }
  | { readonly type: "io-error"; readonly uuid: string; readonly path: string; readonly reason: string; readonly paused: boolean }
  | { readonly type: "reboot"; readonly uuid: string }
  | { readonly type: "guest-agent"; readonly uuid: string; readonly connected: boolean }
  | { readonly type: "changed"; readonly uuid: string }
  | { readonly type: "connected" }
  | { readonly type: "disconnected"; readonly why: string };

/** Where a change applies: to the running domain, to what it will be at its next start, or both. */
export interface Scope {
  readonly live: boolean;
  readonly config: boolean;
}

export interface DomainStatistics {
  readonly uuid: string;
  /** Ns of CPU used since the start. */
  readonly cpuTimeNs: number;
  readonly vcpus: number;
  readonly balloonBytes: number;
  /** What the guest really uses, where its driver says so; else the host's resident size. */
  readonly memoryUsedBytes: number;
  /** What the guest could have without swapping, its cache counted; absent where its driver does not say. */
  readonly memoryAvailableBytes?: number;
  readonly diskReadBytes: number;
  readonly diskWriteBytes: number;
  readonly netReceiveBytes: number;
  readonly netTransmitBytes: number;
  /** Ns that its vCPUs wanted to run and could not; absent where the hypervisor does not say. */
  readonly cpuWaitNs?: number;
  /** Of the host's memory. */
  readonly residentBytes?: number;
  readonly diskReads?: number;
  readonly diskWrites?: number;
  /** Ns that reads and writes took, together. */
  readonly diskTimeNs?: number;
}

export interface GuestFacts {
  readonly hostname?: string;
  readonly addresses: readonly string[];
}

export interface HypervisorFacts {
  readonly libvirtVersion: string;
  readonly qemuVersion: string;
  /** libvirt's capabilities and domain capabilities (of KVM where it is offered, else of QEMU), XML. */
  readonly capabilitiesXml: string;
  readonly domainCapabilitiesXml: string;
  readonly cpuModels: readonly string[];
}

/** Bytes both ways. */
export interface ByteStream {
  /** @returns `undefined` at the end. */
  read(): Promise<Uint8Array | undefined>;
  write(bytes: Uint8Array): Promise<void>;
  close(): void;
}

export interface JobFigures {
  readonly elapsedMs: number;
  readonly totalBytes: number;
  readonly processedBytes: number;
  readonly remainingBytes: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly bytesPerSecond: number;
  readonly iterations: number;
  readonly downtimeMs: number;
}

export interface SnapshotDescription {
  readonly xml: string;
  /** The one that the guest's present state comes from. */
  readonly current: boolean;
}

export interface MigrationOptions {
  readonly name: string;
  /** Definition that the target keeps. */
  readonly persistentXml?: string;
  /** Disks (targets such as `vda`) that are copied; empty: shared storage. */
  readonly copyDisks: readonly string[];
  /** The target has the base images: only what the disk itself holds is copied. */
  readonly copyIncremental: boolean;
  readonly autoConverge: boolean;
  readonly postCopy: boolean;
  readonly tls: boolean;
  /** 0: no limit. */
  readonly bandwidthBytesPerSecond: number;
  readonly uri?: string;
  readonly listenAddress?: string;
  readonly diskPort?: number;
  /** Common name that the target's certificate must carry, where it is not the address of `uri`. */
  readonly tlsDestination?: string;
}

/** One side of a managed migration. libvirt undoes it when this is closed before the end. */
export interface MigrationSession {
  begin(options: MigrationOptions): Promise<{ readonly cookie: Uint8Array; readonly xml: string }>;
  prepare(options: MigrationOptions, xml: string, cookie: Uint8Array): Promise<{ readonly cookie: Uint8Array; readonly uri: string }>;
  perform(options: MigrationOptions, xml: string, cookie: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  finish(options: MigrationOptions, cookie: Uint8Array, cancelled: boolean): Promise<Uint8Array>;
  confirm(options: MigrationOptions, cookie: Uint8Array, cancelled: boolean): Promise<void>;
  /** False: the connection was lost, and with it what was begun. */
  readonly open: boolean;
  close(): void;
}

/**
 * The hypervisor of this host. Every call has a deadline of its own and may hang alone: one domain's trouble is never another's.
 * Machines are named by UUID, which is the machine's id. All throw `HypervisorError`.
 */
export interface Hypervisor {
  domains(): Promise<readonly Domain[]>;
  /** @returns `null` when there is none. */
  domain(uuid: string): Promise<Domain | null>;
  /** `live`: as it runs now (of a stopped one: as it is defined); `definition`: as it will start next. */
  describe(uuid: string, which: "live" | "definition"): Promise<DomainDescription>;
  define(xml: string): Promise<void>;
  /** Definition, NVRAM and TPM state go; a running domain goes on as one that vanishes at its end. No error when there is none. */
  undefine(uuid: string): Promise<void>;
  start(uuid: string, options: { readonly paused: boolean }): Promise<void>;
  /** Presses the power button; returns at once. */
  shutdown(uuid: string): Promise<void>;
  /** Cuts the power. No error when it does not run. */
  destroy(uuid: string): Promise<void>;
  reboot(uuid: string): Promise<void>;
  reset(uuid: string): Promise<void>;
  suspend(uuid: string): Promise<void>;
  resume(uuid: string): Promise<void>;
  attachDevice(uuid: string, xml: string, scope: Scope): Promise<void>;
  detachDevice(uuid: string, xml: string, scope: Scope): Promise<void>;
  updateDevice(uuid: string, xml: string, scope: Scope): Promise<void>;
  setVcpus(uuid: string, count: number, scope: Scope): Promise<void>;
  /** @param cpus of the host, that it may run on */
  pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], scope: Scope): Promise<void>;
  /** All threads but those of vCPUs. */
  pinEmulator(uuid: string, cpus: readonly number[], scope: Scope): Promise<void>;
  /** The balloon. */
  setMemory(uuid: string, bytes: number, scope: Scope): Promise<void>;
  /** @param target disk as the guest's bus names it: `vda` */
  resizeDisk(uuid: string, target: string, bytes: number): Promise<void>;
  /** @param parameters libvirt's names (`total_bytes_sec`); all of them are set, 0 = no limit */
  setDiskLimits(uuid: string, target: string, parameters: Readonly<Record<string, number>>, scope: Scope): Promise<void>;
  setScheduler(uuid: string, parameters: Readonly<Record<string, number>>, scope: Scope): Promise<void>;
  setMark(uuid: string, mark: DomainMark, scope: Scope): Promise<void>;
  /** Whether libvirtd starts it by itself when the host boots. */
  setAutostart(uuid: string, autostart: boolean): Promise<void>;
  /** @returns `silent`: the guest's agent does not answer in time, or has gone; `null`: nothing is known of it now */
  guestFacts(uuid: string): Promise<GuestFacts | "silent" | null>;
  /** Whether something in the guest holds the agent's channel open, be it that it answers or not. */
  guestChannelOpen(uuid: string): Promise<boolean>;
  /** Of all running domains; those whose monitor hangs are left out. */
  statistics(): Promise<readonly DomainStatistics[]>;
  screenshot(uuid: string): Promise<{ readonly mime: string; readonly bytes: Uint8Array }>;
  serial(uuid: string): Promise<ByteStream>;
  facts(): Promise<HypervisorFacts>;
  /** What is wrong with the daemon, for people; none when all is well. */
  problems(): readonly string[];
  migration(uuid: string): Promise<MigrationSession>;
  /** Snapshots inside the domain's disks, parents before their children. */
  snapshots(uuid: string): Promise<readonly SnapshotDescription[]>;
  /** Takes what the hypervisor knows of them away; they themselves stay inside the disks. */
  forgetSnapshots(uuid: string): Promise<void>;
  /** Lets the hypervisor know of snapshots that are inside the disks. Those it knows are replaced. */
  defineSnapshots(uuid: string, snapshots: readonly SnapshotDescription[]): Promise<void>;
  /** Of the job that runs now, or of the one that just ended. `null`: none. */
  job(uuid: string, which: "running" | "completed"): Promise<JobFigures | null>;
  abortJob(uuid: string): Promise<void>;
  /** Ms. */
  setMaximumDowntime(uuid: string, downtimeMs: number): Promise<void>;
  startPostCopy(uuid: string): Promise<void>;
  /** @returns the function that ends it. */
  subscribe(listener: (event: HypervisorEvent) => void): () => void;
  close(): void;
}

/** A call that failed. `kind`: `refused` by the hypervisor, `unknown-domain`, `timed-out` or `disconnected` (both: it may have happened). */
export class HypervisorError extends Error {
  readonly kind: "refused" | "unknown-domain" | "timed-out" | "disconnected";
  constructor(kind: HypervisorError["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "HypervisorError";
    this.kind = kind;
  }
}

/** A unix socket of this host: a guest's VNC. */
export interface LocalSockets {
  connect(path: string, signal: AbortSignal): Promise<ByteStream>;
}

export interface AgentPorts {
  readonly clock: Clock;
  /** Ms since the host booted, time asleep included: the same for all programs of the host. */
  readonly sinceBoot: () => number;
  readonly random: Random;
  readonly logger: Logger;
  readonly files: Files;
  readonly processes: Processes;
  readonly dialer: Dialer;
  readonly hypervisor: Hypervisor;
  readonly sockets: LocalSockets;
  readonly installation: Installation;
  /** Wakes a neighbour. @returns the broadcast addresses that it was sent to @throws where it could be sent nowhere */
  readonly sendMagicPacket: (packet: { readonly mac: string; readonly port: number }) => Promise<readonly string[]>;
}
