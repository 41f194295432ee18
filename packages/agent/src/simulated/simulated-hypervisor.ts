/**
 * A hypervisor in memory with the manners of libvirt: definitions, running domains, events, managed migration that is undone when its
 * session goes. For tests and the simulator; guests are moved by the methods at the end (they crash, shut down, hang).
 */
import { type DomainDescription, type HostDevice, parseDomain, renderDescription, unbound } from "@sheaf/domain-xml";
import {
  type Domain,
  type DomainReason,
  type DomainState,
  type Hypervisor,
  HypervisorError,
  type HypervisorEvent,
  type JobFigures,
  type MigrationSession,
  type Scope,
  type SnapshotDescription,
  type GuestFacts,
} from "../ports.ts";

interface SimulatedDomain {
  readonly uuid: string;
  definition: DomainDescription | null;
  live: DomainDescription | null;
  state: DomainState;
  reason: DomainReason;
}

const figures: JobFigures = {
  elapsedMs: 900,
  totalBytes: 1000,
  processedBytes: 1000,
  remainingBytes: 0,
  memoryBytes: 900,
  diskBytes: 100,
  bytesPerSecond: 1000,
  iterations: 2,
  downtimeMs: 80,
};

export class SimulatedHypervisor implements Hypervisor {
  readonly #domains = new Map<string, SimulatedDomain>();
  readonly #listeners = new Set<(event: HypervisorEvent) => void>();
  readonly #sessions = new Set<{ open: boolean; close(): void }>();
  /** Calls in order: `start <uuid>`. */
  readonly calls: string[] = [];
  /** Machines whose calls never answer. */
  readonly hung = new Set<string>();
  /** Steps that are refused, with the daemon's words: `start`. */
  readonly refusals = new Map<string, string>();
  /** What libvirtd would start by itself. */
  readonly autostarted = new Set<string>();
  connected = true;
  /** What it knows of snapshots, by machine. */
  readonly known = new Map<string, readonly SnapshotDescription[]>();
  /** Told after every change of a domain's state or of what it runs with. */
  onChange: ((uuid: string) => void) | null = null;
  /** Guests that do not listen to the power button. */
  readonly deaf = new Set<string>();
  /** Guests whose agent does not answer; and those whose agent has closed its channel. */
  readonly silentGuests = new Set<string>();
  /** Guests whose agent cannot be asked now. */
  readonly busyGuests = new Set<string>();
  readonly closedChannels = new Set<string>();

  async domains(): Promise<readonly Domain[]> {
    this.#mustAnswer();
    return [...this.#domains.values()].map(summary);
  }

  async domain(uuid: string): Promise<Domain | null> {
    this.#mustAnswer();
    await this.#hang(uuid);
    const found = this.#domains.get(uuid);
    return found ? summary(found) : null;
  }

  async describe(uuid: string, which: "live" | "definition"): Promise<DomainDescription> {
    const found = await this.#find(uuid);
    const description = (which === "live" ? found.live : found.definition) ?? found.definition ?? found.live;
    if (!description) throw new HypervisorError("unknown-domain", "the domain has no description");
    return description;
  }

  async define(xml: string): Promise<void> {
    const description = apart(parseDomain(xml));
    await this.#begin("define", description.uuid);
    const found = this.#domains.get(description.uuid);
    if (found) found.definition = description;
    else this.#put({ uuid: description.uuid, definition: description, live: null, state: "stopped", reason: "unknown" });
    this.#emit(description.uuid, "defined");
  }

  async undefine(uuid: string): Promise<void> {
    await this.#begin("undefine", uuid);
    const found = this.#domains.get(uuid);
    if (!found) return;
    if (found.live) found.definition = null;
    else this.#drop(uuid);
    this.#emit(uuid, "undefined");
  }

  async start(uuid: string, { paused }: { readonly paused: boolean }): Promise<void> {
    await this.#begin("start", uuid);
    const found = await this.#find(uuid);
    if (found.live) throw new HypervisorError("refused", "Requested operation is not valid: domain is already running");
    const live = found.definition;
    this.#refuseTakenDevices(found.uuid, live);
    this.#set(found, paused ? { live, state: "paused", reason: "user" } : { live, state: "running", reason: "booted" });
    this.#emit(uuid, "started");
  }

  /** As libvirt does: a device of the host is one domain's at a time. */
  #refuseTakenDevices(uuid: string, starting: DomainDescription | null): void {
    const name = (device: HostDevice): string => (device.kind === "pci" ? device.address : device.uuid);
    for (const device of starting?.hostDevices ?? []) {
      for (const { uuid: other, live } of this.#domains.values())
        if (other !== uuid && live?.hostDevices.some((one) => name(one) === name(device)) === true)
          throw new HypervisorError("refused", `PCI device ${name(device)} is in use by driver QEMU, domain ${live.name}`);
    }
  }

  async shutdown(uuid: string): Promise<void> {
    await this.#begin("shutdown", uuid);
    const found = await this.#running(uuid);
    if (!this.deaf.has(uuid) && found.state === "running") this.stop(uuid, "shutdown");
  }

  async destroy(uuid: string): Promise<void> {
    await this.#begin("destroy", uuid);
    if (this.#domains.get(uuid)?.live) this.stop(uuid, "destroyed");
  }

  async reboot(uuid: string): Promise<void> {
    await this.#begin("reboot", uuid);
    await this.#running(uuid);
    if (!this.deaf.has(uuid)) this.emit({ type: "reboot", uuid });
  }

  async reset(uuid: string): Promise<void> {
    await this.#begin("reset", uuid);
    await this.#running(uuid);
  }

  async suspend(uuid: string): Promise<void> {
    await this.#begin("suspend", uuid);
    this.#set(await this.#running(uuid), { state: "paused", reason: "user" });
    this.#emit(uuid, "suspended");
  }

  async resume(uuid: string): Promise<void> {
    await this.#begin("resume", uuid);
    this.#set(await this.#running(uuid), { state: "running", reason: "booted" });
    this.#emit(uuid, "resumed");
  }

  attachDevice(uuid: string, xml: string, scope: Scope): Promise<void> {
    const device = fragment(xml);
    return this.#change("attach", uuid, scope, (domain) => ({
      ...domain,
      disks: [...domain.disks, ...device.disks],
      nics: [...domain.nics, ...device.nics],
      cdroms: [...domain.cdroms, ...device.cdroms],
    }));
  }

  detachDevice(uuid: string, xml: string, scope: Scope): Promise<void> {
    const device = fragment(xml);
    return this.#change("detach", uuid, scope, (domain) => ({
      ...domain,
      disks: domain.disks.filter(({ target }) => !device.disks.some((each) => each.target === target)),
      nics: domain.nics.filter(({ mac }) => !device.nics.some((each) => each.mac === mac)),
    }));
  }

  updateDevice(uuid: string, xml: string, scope: Scope): Promise<void> {
    const device = fragment(xml);
    return this.#change("update", uuid, scope, (domain) => ({
      ...domain,
      cdroms: domain.cdroms.map((cdrom) => device.cdroms.find(({ target }) => target === cdrom.target) ?? cdrom),
      nics: domain.nics.map((nic) => device.nics.find(({ mac }) => mac === nic.mac) ?? nic),
    }));
  }

  setVcpus(uuid: string, count: number, scope: Scope): Promise<void> {
    return this.#change("vcpus", uuid, scope, (domain) => ({ ...domain, vcpus: { ...domain.vcpus, current: count } }));
  }

  pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], scope: Scope): Promise<void> {
    return this.#change("pin-vcpu", uuid, scope, (domain) => {
      const { binding = unbound } = domain;
      const vcpus = Array.from({ length: Math.max(vcpu + 1, binding.vcpus.length) }, (_, at) => (at === vcpu ? cpus : (binding.vcpus[at] ?? [])));
      return { ...domain, binding: { ...binding, vcpus } };
    });
  }

  pinEmulator(uuid: string, cpus: readonly number[], scope: Scope): Promise<void> {
    return this.#change("pin-emulator", uuid, scope, (domain) => ({ ...domain, binding: { ...(domain.binding ?? unbound), emulator: cpus } }));
  }

  setMemory(uuid: string, bytes: number, scope: Scope): Promise<void> {
    return this.#change("memory", uuid, scope, (domain) => ({ ...domain, memory: { ...domain.memory, currentBytes: bytes } }));
  }

  async resizeDisk(uuid: string, target: string, bytes: number): Promise<void> {
    await this.#begin(`resize-${target}-${bytes}`, uuid);
    await this.#running(uuid);
  }

  setDiskLimits(uuid: string, target: string, parameters: Readonly<Record<string, number>>, scope: Scope): Promise<void> {
    const total = parameters["total_bytes_sec"] ?? 0;
    const limits = total > 0 ? { totalBytesPerSecond: total } : {};
    return this.#change("limits", uuid, scope, (domain) => ({
      ...domain,
      disks: domain.disks.map((disk) => (disk.target === target ? { ...disk, limits } : disk)),
    }));
  }

  setScheduler(uuid: string, parameters: Readonly<Record<string, number>>, scope: Scope): Promise<void> {
    const { cpu_shares: shares, global_quota: quotaUs, global_period: periodUs } = parameters;
    return this.#change("scheduler", uuid, scope, (domain) => ({
      ...domain,
      tune: {
        ...domain.tune,
        ...(shares === undefined ? {} : { shares }),
        ...(quotaUs === undefined || quotaUs < 0 ? {} : { quotaUs }),
        ...(periodUs === undefined ? {} : { periodUs }),
      },
    }));
  }

  setMark(uuid: string, mark: NonNullable<Domain["mark"]>, scope: Scope): Promise<void> {
    return this.#change("mark", uuid, scope, (domain) => ({ ...domain, machine: mark }));
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    await this.#begin(autostart ? "autostart" : "no-autostart", uuid);
    await this.#find(uuid);
    if (autostart) this.autostarted.add(uuid);
    else this.autostarted.delete(uuid);
  }

  async guestFacts(uuid: string): Promise<GuestFacts | "silent" | null> {
    const found = await this.#find(uuid);
    if (this.busyGuests.has(uuid)) return null;
    if (this.silentGuests.has(uuid)) return "silent";
    return found.live ? { hostname: found.live.name, addresses: ["10.0.0.1"] } : null;
  }

  async guestChannelOpen(uuid: string): Promise<boolean> {
    const found = await this.#find(uuid);
    return found.live !== null && !this.closedChannels.has(uuid);
  }

  async statistics() {
    this.#mustAnswer();
    return [];
  }

  async screenshot() {
    return { mime: "image/x-portable-pixmap", bytes: new Uint8Array(Buffer.from("P6\n1 1\n255\nabc")) };
  }

  async serial() {
    return { read: async () => undefined, write: async () => {}, close: () => {} };
  }

  async facts() {
    this.#mustAnswer();
    return {
      libvirtVersion: "9.0.0",
      qemuVersion: "7.2.0",
      capabilitiesXml: "<capabilities/>",
      domainCapabilitiesXml: "<domainCapabilities/>",
      cpuModels: ["qemu64"],
    };
  }

  problems(): readonly string[] {
    return this.connected ? [] : ["libvirtd does not answer"];
  }

  async snapshots(uuid: string): Promise<readonly SnapshotDescription[]> {
    this.#mustAnswer();
    return this.known.get(uuid) ?? [];
  }

  async forgetSnapshots(uuid: string): Promise<void> {
    await this.#begin("forget-snapshots", uuid);
    this.known.delete(uuid);
  }

  async defineSnapshots(uuid: string, snapshots: readonly SnapshotDescription[]): Promise<void> {
    await this.#begin("define-snapshots", uuid);
    this.known.set(uuid, snapshots);
  }

  async migration(uuid: string): Promise<MigrationSession> {
    this.#mustAnswer();
    let role: "source" | "target" | null = null;
    let performed = false;
    let over = false;
    const session = {
      open: true,
      begin: async () => {
        await this.#begin("begin", uuid);
        const found = await this.#running(uuid);
        const snapshots = this.known.get(uuid)?.length ?? 0;
        if (snapshots > 0)
          throw new HypervisorError("refused", `Requested operation is not valid: cannot migrate domain with ${snapshots} snapshots`);
        role = "source";
        return { cookie: new Uint8Array([1]), xml: renderDescription(found.live ?? parseDomain("")) };
      },
      prepare: async (_options: unknown, xml: string) => {
        await this.#begin("prepare", uuid);
        role = "target";
        const before = this.#domains.get(uuid)?.definition ?? null;
        this.#put({ uuid, definition: before, live: apart(parseDomain(xml)), state: "paused", reason: "starting-up" });
        return { cookie: new Uint8Array([2]), uri: "tcp://10.0.0.2:49152" };
      },
      perform: async () => {
        await this.#begin("perform", uuid);
        performed = true;
        this.#set(await this.#running(uuid), { state: "paused", reason: "migration" });
        return new Uint8Array([3]);
      },
      finish: async (_options: unknown, _cookie: Uint8Array, cancelled: boolean) => {
        await this.#begin(cancelled ? "finish-cancelled" : "finish", uuid);
        over = true;
        const found = await this.#running(uuid);
        if (cancelled) this.#vanish(uuid);
        else this.#set(found, { state: "running", reason: "migrated", definition: found.live });
        return new Uint8Array([4]);
      },
      confirm: async (_options: unknown, _cookie: Uint8Array, cancelled: boolean) => {
        await this.#begin(cancelled ? "confirm-cancelled" : "confirm", uuid);
        over = true;
        if (cancelled) this.#set(await this.#running(uuid), { state: "running", reason: "booted" });
        else this.stop(uuid, "migrated");
      },
      close: () => {
        if (!session.open) return;
        session.open = false;
        this.#sessions.delete(session);
        if (over) return;
        if (role === "target") this.#vanish(uuid);
        // After `perform` the daemon cannot know whether the target runs: the source stays paused.
        else if (role === "source" && !performed && this.live(uuid)) this.#set(this.#domains.get(uuid), { state: "running", reason: "booted" });
      },
    };
    this.#sessions.add(session);
    return session;
  }

  async job(): Promise<JobFigures | null> {
    return figures;
  }

  async abortJob(uuid: string): Promise<void> {
    await this.#begin("abort", uuid);
  }

  async setMaximumDowntime(): Promise<void> {}
  async startPostCopy(): Promise<void> {}

  subscribe(listener: (event: HypervisorEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The client ends: sessions go with it, domains stay. */
  close(): void {
    for (const session of [...this.#sessions]) session.close();
    this.#listeners.clear();
  }

  // What happens to guests and to the daemon by themselves.

  stop(uuid: string, reason: DomainReason): void {
    const found = this.#domains.get(uuid);
    if (!found?.live) return;
    this.#end(found, reason);
    this.#emit(uuid, "stopped", reason);
  }

  pause(uuid: string, reason: DomainReason): void {
    this.#set(this.#domains.get(uuid), { state: "paused", reason });
    this.#emit(uuid, "suspended", reason);
  }

  /** The host's power goes and comes: definitions stay, and nobody knows why nothing runs. */
  powerCycle(): void {
    for (const found of [...this.#domains.values()]) this.#end(found, "unknown");
  }

  disconnect(): void {
    this.connected = false;
    for (const session of [...this.#sessions]) session.close();
    this.emit({ type: "disconnected", why: "the daemon went away" });
  }

  reconnect(): void {
    this.connected = true;
    this.emit({ type: "connected" });
  }

  /** A domain that Sheaf did not make, or one made under another placement. */
  put(xml: string, state: DomainState): void {
    const description = parseDomain(xml);
    const active = state !== "stopped";
    this.#put({
      uuid: description.uuid,
      definition: description,
      live: active ? description : null,
      state,
      reason: active ? "booted" : "unknown",
    });
  }

  live(uuid: string): DomainDescription | null {
    return this.#domains.get(uuid)?.live ?? null;
  }

  /** What it runs with, or would be started with. */
  description(uuid: string): DomainDescription | null {
    const found = this.#domains.get(uuid);
    return found?.live ?? found?.definition ?? null;
  }

  /** How a domain stands, without asking the daemon. */
  stands(uuid: string): { readonly state: DomainState; readonly reason: DomainReason } | null {
    return this.#domains.get(uuid) ?? null;
  }

  /** Domains that have a QEMU, paused ones too. */
  active(): string[] {
    return [...this.#domains.values()].flatMap(({ uuid, live }) => (live ? [uuid] : []));
  }

  emit(event: HypervisorEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  #emit(uuid: string, event: Extract<HypervisorEvent, { type: "lifecycle" }>["event"], detail: DomainReason = "other"): void {
    this.emit({ type: "lifecycle", uuid, event, detail });
  }

  #vanish(uuid: string): void {
    const found = this.#domains.get(uuid);
    if (found) this.#end(found, "destroyed");
  }

  #end(found: SimulatedDomain, reason: DomainReason): void {
    this.#set(found, { live: null, state: "stopped", reason });
    if (!found.definition) this.#drop(found.uuid);
  }

  #put(domain: SimulatedDomain): void {
    this.#domains.set(domain.uuid, domain);
    this.onChange?.(domain.uuid);
  }

  #drop(uuid: string): void {
    this.#domains.delete(uuid);
    this.onChange?.(uuid);
  }

  #set(found: SimulatedDomain | undefined, change: Partial<SimulatedDomain>): void {
    if (!found) return;
    Object.assign(found, change);
    this.onChange?.(found.uuid);
  }

  async #change(name: string, uuid: string, scope: Scope, change: (domain: DomainDescription) => DomainDescription): Promise<void> {
    await this.#begin(name, uuid);
    const found = await this.#find(uuid);
    if (scope.live) {
      if (!found.live) throw new HypervisorError("refused", "domain is not running");
      this.#set(found, { live: change(found.live) });
    }
    if (scope.config && found.definition) found.definition = change(found.definition);
    this.emit({ type: "changed", uuid });
  }

  #mustAnswer(): void {
    if (!this.connected) throw new HypervisorError("disconnected", "libvirtd does not answer");
  }

  async #begin(name: string, uuid: string): Promise<void> {
    this.#mustAnswer();
    await this.#hang(uuid);
    this.calls.push(`${name} ${uuid}`);
    const refusal = this.refusals.get(name);
    if (refusal !== undefined) throw new HypervisorError("refused", refusal);
  }

  async #hang(uuid: string): Promise<void> {
    if (this.hung.has(uuid)) throw new HypervisorError("timed-out", "no answer within 15000 ms");
  }

  async #find(uuid: string): Promise<SimulatedDomain> {
    this.#mustAnswer();
    await this.#hang(uuid);
    const found = this.#domains.get(uuid);
    if (!found) throw new HypervisorError("unknown-domain", `Domain not found: no domain with matching uuid '${uuid}'`);
    return found;
  }

  async #running(uuid: string): Promise<SimulatedDomain> {
    const found = await this.#find(uuid);
    if (!found.live) throw new HypervisorError("refused", "Requested operation is not valid: domain is not running");
    return found;
  }
}

/** Of the text that it was read from: pieces of a string keep the whole of it in memory, and these are kept. */
const apart = (description: DomainDescription): DomainDescription => JSON.parse(JSON.stringify(description)) as DomainDescription; // plain data

const summary = (found: SimulatedDomain): Domain => {
  const description = found.live ?? found.definition;
  const mark = description?.machine;
  return {
    uuid: found.uuid,
    name: description?.name ?? "",
    state: found.state,
    reason: found.reason,
    persistent: found.definition !== null,
    ...(mark ? { mark } : {}),
  };
};

/** A device alone, by way of a domain around it. */
function fragment(device: string): DomainDescription {
  return parseDomain(
    `<domain type='qemu'><name>x</name><uuid>00000000-0000-4000-8000-000000000000</uuid><memory unit='KiB'>1024</memory><vcpu>1</vcpu><os><type machine='q35'>hvm</type></os><devices>${device}</devices></domain>`,
  );
}
