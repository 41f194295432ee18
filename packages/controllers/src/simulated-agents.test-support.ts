/**
 * Agents of simulated hosts for tests: they accept what is placed on them, report as the gateway would write it, and answer the calls of a
 * migration as libvirt does. They keep watch: a guest that runs twice is noted in `violations`. Never imported by production code.
 */
import type { Clock } from "@sheaf/base";
import type { AgentCalls, AgentMethod, HostLoad, MigrationCall, UpgradeOrder } from "@sheaf/contract";
import { partKey, SheafError, type AdoptableDomain, type RecordOf, type VmObservation } from "@sheaf/model";
import type { Store } from "@sheaf/store";
import type { RecordCache } from "./context.ts";
import type { Agents, CallOptions } from "./ports.ts";

/** `fail`: refused. `lost`: never sent. `undone`/`done`: no answer, the work not done or done. `hang`: as `undone`, until the caller gives up. */
export type CallFault = "fail" | "lost" | "undone" | "done" | "hang";

interface Guest {
  /** `loaded`: has all memory, CPUs not started. */
  state: "running" | "paused" | "incoming" | "loaded";
}
interface SimulatedHost {
  readonly id: string;
  connected: boolean;
  /** Dials: let in unless it is fenced. */
  knocking: boolean;
  powered: boolean;
  lastHeardAt: number | null;
  bootId: number;
  /** Is about to sleep: starts nothing. */
  quiet: boolean;
  readonly guests: Map<string, Guest>;
  /** Domains that Sheaf did not make. */
  readonly foreign: Map<string, AdoptableDomain>;
  /** Tasks whose Finish3 was noted on the host's disk. */
  readonly noted: Set<string>;
}

export interface CallRecord {
  readonly hostId: string;
  readonly method: AgentMethod;
  readonly cancelled: boolean;
}

export class SimulatedAgents implements Agents {
  readonly hosts = new Map<string, SimulatedHost>();
  readonly violations: string[] = [];
  readonly calls: CallRecord[] = [];
  /** Domains that were adopted, each time an agent took one over. */
  readonly takenOver: string[] = [];
  /** Machines whose start fails, with why. */
  readonly broken = new Map<string, string>();
  /** Machines whose guest's agent answers. */
  readonly answering = new Set<string>();
  /** Machines that are shutting down, and do not come to an end. */
  readonly stubborn = new Set<string>();
  /** Machines that were started, in that order. */
  readonly started: string[] = [];
  /** Hosts can shut themselves down, and take so long for it. */
  shutsDown = true;
  shutdownMs = 10_000;
  /** Asked of hosts for their neighbours. */
  readonly magicPackets: string[] = [];
  /** Whether machines and volumes are taken care of; off: nothing is reported until it is on again. */
  working = true;
  latencyMs = 5;
  /** Time each migration's copying takes. */
  copyMs = 200;
  fault: (call: CallRecord) => CallFault | undefined = () => undefined;
  /** Told before the work of a call is done, and after it before its answer goes out: where tests kill. */
  moment: (call: CallRecord, when: "before" | "after") => void = () => {};
  /** Told of an order to take another version of the agent; what comes of it is the test's. */
  upgrade: (hostId: string, order: UpgradeOrder) => void = () => {};
  readonly #clock: Clock;
  readonly #store: Store;
  readonly #cache: RecordCache;
  readonly #reported = new Map<string, string>();
  readonly #listeners = new Set<(event: { hostId: string; connected: boolean }) => void>();

  constructor(options: { readonly clock: Clock; readonly store: Store; readonly cache: RecordCache }) {
    this.#clock = options.clock;
    this.#store = options.store;
    this.#cache = options.cache;
    this.#cache.subscribe((_revision, changes) => {
      for (const { kind, id } of changes) {
        if (kind === "vm" || kind === "volume") this.#soon(kind, id);
        if (kind === "volume") this.#wakeOwner(id);
        if (kind === "host") this.#fenceChanged(id);
      }
    });
  }

  add(id: string): SimulatedHost {
    const host: SimulatedHost = {
      id,
      connected: true,
      knocking: false,
      powered: true,
      lastHeardAt: this.#clock.monotonic(),
      bootId: 1,
      quiet: false,
      guests: new Map(),
      foreign: new Map(),
      noted: new Set(),
    };
    this.hosts.set(id, host);
    this.#tell(host);
    return host;
  }

  #fenceChanged(hostId: string): void {
    const host = this.hosts.get(hostId);
    if (!host) return;
    if (host.connected && this.#cache.get("host", hostId)?.status.fencing?.state === "fenced") {
      this.cut(hostId);
      host.knocking = true;
    }
    this.#knock(host);
  }

  connected(hostId: string): boolean {
    return this.hosts.get(hostId)?.connected === true;
  }
  lastHeardAt(hostId: string): number | null {
    const host = this.hosts.get(hostId);
    return host?.connected ? this.#clock.monotonic() : (host?.lastHeardAt ?? null);
  }
  /** By host: its pulse reaches the server, or only the shared pool. */
  readonly pulses = new Map<string, "server" | "pool">();
  pulse(hostId: string) {
    const heard = { heardAt: this.#clock.monotonic(), message: this.#pulseOf(hostId), grantedAt: null };
    return this.pulses.get(hostId) === "server" ? heard : null;
  }
  #pulseOf(hostId: string) {
    const now = this.#clock.monotonic();
    return { bootId: String(this.#host(hostId).bootId), sequence: Math.round(now), agentSilentMs: now - (this.lastHeardAt(hostId) ?? 0) };
  }
  /** CPUs that machines keep busy while they run. */
  readonly busyCpus = new Map<string, number>();
  /** CPUs that are busy on a host with something else. */
  readonly otherCpus = new Map<string, number>();
  load(hostId: string): HostLoad | null {
    const host = this.hosts.get(hostId);
    if (!host?.connected) return null;
    const rates = { diskReadBytesPerSecond: 0, diskWriteBytesPerSecond: 0, netReceiveBytesPerSecond: 0, netTransmitBytesPerSecond: 0 };
    const vms = [...host.guests].flatMap(([id, { state }]) =>
      state === "running" ? [{ id, cpu: this.busyCpus.get(id) ?? 0, memoryUsedBytes: 2 ** 28, ...rates }] : [],
    );
    const cpus = this.#cache.get("host", hostId)?.status.agent?.cpu.count ?? 1;
    const busy = vms.reduce((sum, { cpu }) => sum + cpu, this.otherCpus.get(hostId) ?? 0);
    return { cpu: busy / cpus, memoryUsedBytes: vms.length * 2 ** 28, memoryTotalBytes: 2 ** 34, vms };
  }
  bootId(hostId: string): string | null {
    return this.connected(hostId) ? String(this.#host(hostId).bootId) : null;
  }
  jitterMs(): number {
    return 0;
  }
  subscribe(listener: (event: { hostId: string; connected: boolean }) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  cut(hostId: string): void {
    const host = this.#host(hostId);
    if (host.connected) host.lastHeardAt = this.#clock.monotonic();
    host.connected = false;
    host.knocking = false;
    this.#tell(host);
  }
  heal(hostId: string): void {
    const host = this.#host(hostId);
    host.knocking = true;
    this.#knock(host);
  }
  /** As the gateway does it: the agent of a fenced host waits until its fence was taken away. */
  #knock(host: SimulatedHost): void {
    const record = this.#cache.get("host", host.id);
    if (!host.knocking || host.connected || !record) return;
    host.lastHeardAt = this.#clock.monotonic();
    const bootId = String(host.bootId);
    const tell = (then: Parameters<Store["transact"]>[0]["then"]) => void this.#store.transact({ compare: [], then }).catch(() => this.#knock(host));
    if (record.status.fencing) {
      if (record.status.return?.bootId !== bootId)
        tell([{ put: partKey("host", host.id, "status/return"), value: JSON.stringify({ bootId, at: this.#clock.now() }) }]);
      return;
    }
    host.connected = true;
    if (record.status.agent && record.status.agent.bootId !== bootId)
      tell([{ put: partKey("host", host.id, "status/agent"), value: JSON.stringify({ ...record.status.agent, bootId }) }]);
    this.#tell(host);
    this.lookAtAll(host.id);
  }
  powered(hostId: string): boolean {
    return this.#host(hostId).powered;
  }

  powerOff(hostId: string): void {
    const host = this.#host(hostId);
    host.powered = false;
    host.guests.clear();
    this.cut(hostId);
  }
  powerOn(hostId: string): void {
    const host = this.#host(hostId);
    host.powered = true;
    host.quiet = false;
    host.bootId += 1;
    this.heal(hostId);
  }

  /** Hosts on which this machine's CPUs run. */
  runningOn(vmId: string): string[] {
    return [...this.hosts.values()].filter((host) => host.guests.get(vmId)?.state === "running").map((host) => host.id);
  }
  /** Hosts that hold anything of it. */
  anythingOn(vmId: string): string[] {
    return [...this.hosts.values()].filter((host) => host.guests.has(vmId)).map((host) => host.id);
  }

  lookAtAll(hostId: string): void {
    for (const vm of this.#cache.all("vm")) this.#soon("vm", vm.id);
    for (const volume of this.#cache.all("volume")) this.#soon("volume", volume.id);
    for (const vmId of this.#host(hostId).guests.keys()) this.#soon("vm", vmId);
  }

  #host(id: string): SimulatedHost {
    const host = this.hosts.get(id);
    if (!host) throw new Error(`no simulated host ${id}`);
    return host;
  }
  #tell({ id, connected }: SimulatedHost): void {
    for (const listener of this.#listeners) listener({ hostId: id, connected });
  }

  #soon(kind: "vm" | "volume", id: string): void {
    this.#clock.setTimer(this.latencyMs, () => {
      if (!this.working) return;
      if (kind === "volume") this.#lookAtVolume(id);
      else for (const host of this.hosts.values()) if (host.connected) this.#lookAtVm(host, id);
    });
  }

  #wakeOwner(volumeId: string): void {
    for (const vm of this.#cache.all("vm")) if (vm.spec.disks.some((disk) => disk.volume === volumeId)) this.#soon("vm", vm.id);
  }

  #lookAtVolume(id: string): void {
    const volume = this.#cache.get("volume", id);
    const host = this.hosts.get(volume?.placement?.host ?? "");
    if (!volume || !host?.connected) return;
    const state = volume.deletedAt === undefined ? "ready" : "gone";
    const value = {
      state,
      host: host.id,
      path: `/pool/${id}`,
      sizeBytes: volume.spec.sizeBytes,
      allocatedBytes: 0,
      observedGeneration: volume.generation,
    };
    this.#report("volume", volume, value);
  }

  #lookAtVm(host: SimulatedHost, id: string): void {
    const vm = this.#cache.get("vm", id);
    // It waits for the migration's calls; the server settles what an interrupted one left.
    if (vm?.status.migration) return;
    if (vm?.placement?.host !== host.id) {
      host.guests.delete(id);
      return;
    }
    if (host.foreign.has(id)) {
      if (vm.placement.adoption === undefined) return this.#observe(host, vm, "failed", { problem: "a domain that Sheaf did not make" });
      host.foreign.delete(id);
      this.takenOver.push(id);
      if (vm.spec.power !== "stopped") host.guests.set(id, { state: vm.spec.power });
    }
    if (vm.deletedAt !== undefined) {
      host.guests.delete(id);
      return this.#observe(host, vm, "gone");
    }
    const problem = this.broken.get(id);
    if (problem !== undefined) return this.#observe(host, vm, "failed", { problem });
    const ready = vm.spec.disks.every((disk) => this.#cache.get("volume", disk.volume ?? "")?.status.agent?.state === "ready");
    if (!ready) return this.#observe(host, vm, "preparing", { observedGeneration: 0 });
    const mark = vm.status.yield;
    if (mark !== undefined && mark.epoch === vm.placement.epoch) {
      if (this.stubborn.has(id)) return this.#observe(host, vm, "stopping", { gaveWay: mark.since });
      host.guests.delete(id);
      return this.#observe(host, vm, "stopped", { gaveWay: mark.since, reason: mark.reason });
    }
    if (vm.spec.power === "stopped") {
      host.guests.delete(id);
      return this.#observe(host, vm, "stopped");
    }
    if (!host.guests.has(id) && waitsForTurn(vm, String(host.bootId))) return this.#observe(host, vm, "stopped", { awaitsTurn: true });
    if (!host.guests.has(id) && host.quiet) return this.#observe(host, vm, "stopped", { reason: "the host is about to sleep" });
    if (!host.guests.has(id)) this.started.push(vm.name);
    host.guests.set(id, { state: vm.spec.power === "paused" ? "paused" : "running" });
    this.check(id);
    this.#observe(host, vm, vm.spec.power, this.answering.has(id) ? { guestAgent: { connected: true } } : {});
  }

  /** At most one copy may run. */
  check(vmId: string): void {
    const running = this.runningOn(vmId);
    if (running.length > 1) this.violations.push(`${vmId} runs on ${running.join(" and ")} at ${this.#clock.monotonic()}`);
    const owner = this.#cache.get("vm", vmId)?.placement?.host;
    if (running.length === 1 && running[0] !== owner)
      this.violations.push(`${vmId} runs on ${running[0]} but is placed on ${owner} at ${this.#clock.monotonic()}`);
  }

  #observe(host: SimulatedHost, vm: RecordOf<"vm">, state: VmObservation["state"], rest: Partial<VmObservation> = {}): void {
    const value: VmObservation = {
      state,
      epoch: vm.placement?.epoch ?? 0,
      host: host.id,
      bootId: String(host.bootId),
      observedGeneration: vm.generation,
      since: 0,
      startRequestSeen: vm.spec.startRequest,
      restarts: 0,
      pendingChanges: [],
      ...rest,
    };
    this.#report("vm", vm, value);
  }

  /** Once each value, as an agent does: not again because the cache lags. */
  #report(kind: "vm" | "volume", record: { readonly id: string; readonly specRevision: number }, value: unknown): void {
    const text = JSON.stringify(value);
    if (this.#reported.get(record.id) === text) return;
    this.#reported.set(record.id, text);
    const failed = () => {
      this.#reported.delete(record.id);
      this.#soon(kind, record.id);
    };
    const compare = [{ key: partKey(kind, record.id, "spec"), modRevision: record.specRevision }];
    this.#store
      .transact({ compare, then: [{ put: partKey(kind, record.id, "status/agent"), value: text }] })
      .then((result) => result.succeeded || failed(), failed);
  }

  async call<M extends AgentMethod>(hostId: string, method: M, parameters: AgentCalls[M]["in"], options: CallOptions): Promise<AgentCalls[M]["out"]> {
    const record: CallRecord = { hostId, method, cancelled: (parameters as { cancelled?: boolean }).cancelled === true };
    this.calls.push(record);
    const fault = this.fault(record);
    if (!this.connected(hostId) || fault === "lost") throw new SheafError("host-unreachable", `host ${hostId} is not connected`);
    if (fault === "fail") throw new SheafError("hypervisor-failed", `${method} was refused`);
    if (fault === "hang")
      return new Promise((_resolve, reject) => options.signal?.addEventListener("abort", () => reject(options.signal?.reason), { once: true }));
    this.moment(record, "before");
    await this.#pass(method === "migrate.perform" ? this.copyMs : this.latencyMs);
    if (!this.connected(hostId)) throw new SheafError("host-unreachable", `host ${hostId} went away`);
    if (fault === "undone") throw new SheafError("timed-out", `${method} did not answer`);
    const host = this.#host(hostId);
    const answer = this.#work(host, method, parameters);
    this.moment(record, "after");
    if (fault === "done" || !this.connected(hostId)) throw new SheafError("timed-out", `${method} did not answer`);
    options.onProgress?.({ remainingBytes: 0 });
    return answer as AgentCalls[M]["out"]; // the cases below answer their method's type
  }

  #pass(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.setTimer(ms, resolve));
  }

  #work(host: SimulatedHost, method: AgentMethod, parameters: unknown): unknown {
    if (method === "vm.adopt") {
      const found = host.foreign.get((parameters as AgentCalls["vm.adopt"]["in"]).uuid); // as the method says
      if (!found) throw new SheafError("not-found", "This host has no such domain.", { next: "Look at the host." });
      return found;
    }
    if (method === "agent.upgrade") {
      this.upgrade(host.id, parameters as UpgradeOrder); // as the method says
      return {};
    }
    if (method === "host.sleep") {
      if (host.guests.size > 0) throw new SheafError("state-refused", "domains are active there");
      host.quiet = true;
      if (this.shutsDown) this.#clock.setTimer(this.shutdownMs, () => host.quiet && this.powerOff(host.id));
      return { shutsDown: this.shutsDown };
    }
    if (method === "host.wakeNeighbour") {
      this.magicPackets.push((parameters as AgentCalls["host.wakeNeighbour"]["in"]).mac); // as the method says
      return { sentTo: ["10.0.0.255"] };
    }
    const { vmId, taskId, targetHost, cancelled } = parameters as MigrationCall & { cancelled?: boolean }; // asked for by the migration alone
    const guest = host.guests.get(vmId);
    const refuse = (why: string): never => {
      throw new SheafError("hypervisor-failed", why);
    };
    const stats = { totalMs: this.copyMs, downtimeMs: 12, memoryBytes: 1000, diskBytes: 24, iterations: 2 };
    switch (method) {
      case "pool.pulse": {
        const { hostId } = parameters as AgentCalls["pool.pulse"]["in"]; // this method's
        return { pulse: this.pulses.get(hostId) === undefined ? null : this.#pulseOf(hostId) };
      }
      case "vm.probe":
        return { state: guest === undefined ? "absent" : guest.state === "loaded" ? "paused" : guest.state, migrating: false };
      case "migrate.begin":
        return guest?.state === "running" ? { cookie: "b", xml: "<domain/>" } : refuse("the guest does not run");
      case "migrate.prepare":
        host.guests.set(vmId, { state: "incoming" });
        return { cookie: "p", uri: "tcp://target", certificateReady: true };
      case "migrate.perform": {
        const target = this.#host(targetHost);
        const there = target.guests.get(vmId);
        if (guest?.state === "paused" && there?.state === "loaded") return { cookie: "f", stats };
        if (guest?.state !== "running" || there?.state !== "incoming" || !target.powered) return refuse("the other side is not there");
        guest.state = "paused";
        there.state = "loaded";
        return { cookie: "f", stats };
      }
      case "migrate.abort":
        return {};
      case "migrate.finish": {
        if (cancelled) {
          if (guest?.state === "running") this.violations.push(`${vmId}: a running guest was given up`);
          host.guests.delete(vmId);
          return { cookie: "c", running: false };
        }
        if (guest?.state === "running") return { cookie: "c", running: true };
        if (guest?.state === "loaded") {
          host.noted.add(taskId);
          guest.state = "running";
          this.check(vmId);
          return { cookie: "c", running: true };
        }
        host.guests.delete(vmId);
        return { cookie: "c", running: false, ...(host.noted.has(taskId) ? {} : { neverRan: true }) };
      }
      case "migrate.confirm": {
        if (!cancelled) {
          if (guest?.state === "running") this.violations.push(`${vmId}: a running source was removed`);
          host.guests.delete(vmId);
          return { running: false, stats };
        }
        if (!guest) return refuse("the guest is not there");
        guest.state = "running";
        this.check(vmId);
        return { running: true };
      }
      default:
        return refuse(`${method} is not simulated`);
    }
  }
}

/** It ran in an earlier boot of this host, and has not been given the word in this one. */
function waitsForTurn({ spec, placement, status: { agent, order } }: RecordOf<"vm">, bootId: string): boolean {
  if (spec.restart.after === undefined || agent?.host !== placement?.host) return false;
  return (agent?.bootId !== bootId || agent.awaitsTurn === true) && !(order?.state === "go" && order.bootId === bootId);
}
