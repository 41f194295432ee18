/**
 * An agent without a hypervisor: joins and connects as a real one does (token, certificate, mutual TLS, WebSocket), takes every machine and
 * volume it is given at once, and reports it running. Fifty and more of them in one process load a server as hosts would; used by benchmarks.
 */
import { setTimeout as after } from "node:timers/promises";
import { dial, type MessageSocket } from "@sheaf/adapters";
import { makeCertificateRequest } from "@sheaf/agent";
import type { Client } from "@sheaf/client";
import { agentPaths, wireVersion, type AgentDocument, type AgentMessage, type ReportedPart, type ServerMessage } from "@sheaf/contract";
import { HostObservation, PoolOnHost, TaskProgress, VmObservation, VolumeObservation, type RecordOf } from "@sheaf/model";

export interface AcceptingIdentity {
  readonly hostId: string;
  readonly name: string;
  /** PEM each. */
  readonly certificate: string;
  readonly privateKey: string;
  readonly authority: string;
  readonly agentPort: number;
}

export interface AcceptingOptions {
  /** Where the server is; loopback by default. */
  readonly address?: string;
  readonly cpus?: number;
  readonly memoryBytes?: number;
  /** From the order to run to the word that it runs. */
  readonly startMs?: number;
}

const partsPerReport = 200;
const bootId = "benchmark";

/** Joins new hosts `<prefix>-1` … `<prefix>-<count>` to the default cluster. @param authority PEM: what joining hosts pin */
export async function joinAcceptingAgents(
  client: Pick<Client, "host">,
  options: { readonly count: number; readonly prefix: string; readonly authority: string },
): Promise<AcceptingIdentity[]> {
  return Promise.all(
    Array.from({ length: options.count }, async (_unused, index) => {
      const name = `${options.prefix}-${index + 1}`;
      const { token } = await client.host.invite({ body: { name, line: false } });
      const { request, privateKey } = await makeCertificateRequest(name);
      const address = `192.0.2.${(index % 250) + 1}`; // RFC 5737: nobody's
      const body = { token, certificateRequest: request, hostname: name, machineId: `benchmark-${name}`, address };
      const { hostId, certificate, agentPort } = await client.host.join({ body });
      return { hostId, name, certificate, privateKey, authority: options.authority, agentPort };
    }),
  );
}

export class AcceptingAgent {
  readonly identity: AcceptingIdentity;
  /** What this host was given and keeps. */
  readonly documents = new Map<string, AgentDocument>();
  /** Machines that were said to run. */
  readonly running = new Set<string>();
  /** Reports that the server refused: why. */
  readonly refusals: string[] = [];
  readonly #options: Required<AcceptingOptions>;
  /** By part: what is still to be told. */
  readonly #waiting = new Map<string, ReportedPart>();
  #socket: MessageSocket | null = null;
  #sequence = 0;
  #answered = 0;
  #heartbeats: NodeJS.Timeout | undefined;
  #beat = 0;
  #stopped = false;

  constructor(identity: AcceptingIdentity, options: AcceptingOptions = {}) {
    this.identity = identity;
    this.#options = { address: "127.0.0.1", cpus: 64, memoryBytes: 512 * 2 ** 30, startMs: 0, ...options };
  }

  /** Resolves when the server has said what concerns this host. Connects anew by itself until `stop`. */
  async start(): Promise<void> {
    const { hostId, authority, certificate, privateKey, agentPort } = this.identity;
    const url = `wss://${this.#options.address}:${agentPort}${agentPaths.socket}`;
    const socket = await dial({ url, authority, certificate, privateKey, timeoutMs: 20_000 });
    this.#socket = socket;
    await new Promise<void>((resolve) => {
      socket.listen({
        text: (text) => {
          // The server is authenticated and speaks the contract.
          const message = JSON.parse(text) as ServerMessage;
          this.#receive(message);
          if (message.type === "sync") resolve();
        },
        bytes() {},
        alive() {},
        drained() {},
        closed: () => {
          this.#disconnected();
          resolve();
        },
      });
      const machines = [...this.documents.values()].flatMap((document) =>
        document.kind === "vm" && document.placement
          ? [{ id: document.id, epoch: document.placement.epoch, incarnation: document.placement.incarnation }]
          : [],
      );
      this.#send({ type: "hello", wireVersion, agentVersion: "benchmark", hostId, bootId, now: Date.now(), machines });
    });
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#heartbeats);
    this.#socket?.close(1001, "the benchmark has ended");
  }

  /** Parts that the server has not confirmed. */
  get untold(): number {
    return this.#waiting.size + (this.#sequence - this.#answered);
  }

  /** Tells this of a part, whatever was told before. */
  report(part: ReportedPart): void {
    this.#waiting.set(`${part.kind}/${part.id}/${part.part}`, part);
    this.#flush();
  }

  #send(message: AgentMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  #disconnected(): void {
    clearInterval(this.#heartbeats);
    this.#answered = this.#sequence;
    this.#socket = null;
    if (this.#stopped) return;
    void (async () => {
      await after(100 + Math.random() * 900);
      if (!this.#stopped) await this.start().catch(() => this.#disconnected());
    })();
  }

  #receive(message: ServerMessage): void {
    switch (message.type) {
      case "welcome":
        clearInterval(this.#heartbeats);
        this.#heartbeats = setInterval(() => this.#heartbeat(), message.heartbeatMs);
        return;
      case "sync":
        this.documents.clear();
        for (const document of message.documents) this.#take(document);
        return;
      case "upsert":
        return this.#take(message.document);
      case "remove":
        this.documents.delete(`${message.kind}/${message.id}`);
        this.running.delete(message.id);
        return;
      case "reported":
        this.#answered = message.sequence;
        for (const { why } of message.refused) this.refusals.push(why);
        return this.#flush();
      case "call":
        return this.#send({
          type: "reply",
          id: message.id,
          ok: false,
          problem: { code: "state-refused", message: `this host has no hypervisor: ${message.method} cannot be done` },
        });
      default:
    }
  }

  #take(document: AgentDocument): void {
    this.documents.set(`${document.kind}/${document.id}`, document);
    const { hostId } = this.identity;
    const onHost = (kind: "pool" | "network" | "image", value: unknown): void =>
      this.report({ kind, id: document.id, part: `status/hosts/${hostId}`, value });
    switch (document.kind) {
      case "host":
        return this.report({
          kind: "host",
          id: hostId,
          part: "status/agent",
          value: hostFacts(this.identity.name, this.#options.cpus, this.#options.memoryBytes),
        });
      case "pool":
        return onHost("pool", { state: "ready", capacityBytes: 2 ** 46, availableBytes: 2 ** 46 } satisfies PoolOnHost);
      case "network":
        return onHost("network", { state: "ready" });
      case "image":
        return onHost("image", { state: "ready", receivedBytes: document.status.library?.fileBytes ?? 0 });
      case "volume":
        return this.#volume(document);
      case "vm":
        return this.#machine(document);
      case "task": {
        const now = Date.now();
        const value: TaskProgress = { state: "succeeded", message: "done", startedAt: now, endedAt: now };
        return this.report({ kind: "task", id: document.id, part: "status/agent", value });
      }
      default:
    }
  }

  #volume(volume: RecordOf<"volume">): void {
    const { hostId } = this.identity;
    if (volume.placement?.host !== hostId) return;
    const gone = volume.deletedAt !== undefined;
    const value: VolumeObservation = {
      state: gone ? "gone" : "ready",
      host: hostId,
      path: `/benchmark/${volume.id}.qcow2`,
      sizeBytes: volume.spec.sizeBytes,
      allocatedBytes: 0,
      observedGeneration: volume.generation,
    };
    this.report({ kind: "volume", id: volume.id, part: "status/agent", value });
  }

  #machine(vm: RecordOf<"vm">): void {
    if (vm.placement?.host !== this.identity.hostId) return;
    const wanted = vm.spec.power;
    const state = vm.deletedAt !== undefined ? "gone" : wanted;
    const tell = (): void => {
      if (state === "running") this.running.add(vm.id);
      else this.running.delete(vm.id);
      this.report({ kind: "vm", id: vm.id, part: "status/agent", value: this.#seen(vm, state) });
    };
    if (this.#options.startMs === 0) tell();
    else setTimeout(tell, this.#options.startMs);
  }

  #seen(vm: RecordOf<"vm">, state: VmObservation["state"]): VmObservation {
    return {
      state,
      epoch: vm.placement?.epoch ?? 0,
      host: this.identity.hostId,
      bootId,
      observedGeneration: vm.generation,
      since: vm.createdAt,
      startRequestSeen: vm.spec.startRequest,
      restarts: 0,
      pendingChanges: [],
      vcpus: vm.spec.cpu.count,
      memoryBytes: vm.spec.memory.bytes,
    };
  }

  /** One report under way at a time, as the real agent has it. */
  #flush(): void {
    if (!this.#socket || this.#waiting.size === 0 || this.#answered !== this.#sequence) return;
    const parts: ReportedPart[] = [];
    for (const [key, part] of this.#waiting) {
      if (parts.length === partsPerReport) break;
      this.#waiting.delete(key);
      parts.push(part);
    }
    this.#sequence += 1;
    this.#send({ type: "report", sequence: this.#sequence, parts });
  }

  #heartbeat(): void {
    this.#beat += 1;
    const vms = [...this.running].map((id) => ({
      id,
      cpu: 0.1,
      memoryUsedBytes: 2 ** 28,
      diskReadBytesPerSecond: 0,
      diskWriteBytesPerSecond: 0,
      netReceiveBytesPerSecond: 0,
      netTransmitBytesPerSecond: 0,
    }));
    const load = { cpu: 0.2, memoryUsedBytes: vms.length * 2 ** 28, memoryTotalBytes: this.#options.memoryBytes, vms };
    this.#send({ type: "heartbeat", sequence: this.#beat, now: Date.now(), load });
  }
}

/** What the agent of an ordinary host reports of it. */
export const hostFacts = (hostname: string, cpus: number, memoryBytes: number): HostObservation => ({
  hostname,
  agentVersion: "benchmark",
  bootId,
  bootedAt: 0,
  address: "192.0.2.1",
  architecture: "x86_64",
  cpu: { model: "qemu64", vendor: "AMD", flags: [], sockets: 1, cores: cpus, threads: 1, count: cpus, mhz: 2000 },
  numa: [{ cell: 0, cpus: [0], memoryBytes, hugepages: [] }],
  memoryBytes,
  disks: [],
  interfaces: [{ name: "br0", mac: "52:54:00:00:00:01", mtu: 1500, up: true, bridge: true, addresses: [] }],
  pciDevices: [],
  gpus: [],
  hypervisor: {
    type: "qemu",
    libvirtVersion: "9.0.0",
    qemuVersion: "7.2.0",
    accelerated: true,
    machineTypes: ["q35", "pc"],
    cpuModels: ["qemu64"],
    uefi: true,
    secureBoot: false,
    tpm: false,
  },
  unmanaged: [],
  problems: [],
});
