/**
 * The Hypervisor port on libvirt: our own client, one daemon. Connects again by itself for ever; while there is no connection every
 * call fails at once as `disconnected`. Holds no state about machines and decides nothing.
 */
import { type Clock, type Logger, sleep } from "@sheaf/base";
import { guestChannelOpen, metadataNamespace, parseDomain, renderMetadata } from "@sheaf/domain-xml";
import {
  AddressSource,
  AgentState,
  connect,
  ConsoleFlag,
  CreateFlag,
  DomainStats,
  DomainStatsFlag,
  GuestInfoType,
  IoErrorAction,
  isLibvirtError,
  JobStatsFlag,
  JobType,
  type LibvirtClient,
  LibvirtConnectionError,
  LibvirtTimeoutError,
  MetadataType,
  parameter,
  ShutdownFlag,
  SnapshotCreateFlag,
  SnapshotDeleteFlag,
  SnapshotListFlag,
  type Transport,
  UndefineFlag,
  XmlFlag,
} from "@sheaf/libvirt";
import { libvirtMigration } from "./libvirt-migration.ts";
import { jobFiguresOf, lifecycleOf, markOf, stateOf, statisticsOf } from "./libvirt-terms.ts";
import { type Domain, type Hypervisor, HypervisorError, type HypervisorEvent, type Scope } from "./ports.ts";

export interface LibvirtHypervisorOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `qemu:///system` by default. */
  readonly uri?: string;
}

/** Deadlines: asking; doing something to a domain; what moves memory or waits for a guest. */
const askMs = 15_000;
const actMs = 60_000;
const longMs = 180_000;
const guestAnswerSeconds = 5;
const ask = { timeoutMs: askMs };
const act = { timeoutMs: actMs };
const long = { timeoutMs: longMs };

const affect = (scope: Scope): number => (scope.live ? 1 : 0) | (scope.config ? 2 : 0);

/** Resolves at once: the daemon need not be there yet. */
export function libvirtHypervisor(options: LibvirtHypervisorOptions): Hypervisor {
  const { clock, logger, transport } = options;
  const listeners = new Set<(event: HypervisorEvent) => void>();
  const ending = new AbortController();
  let client: LibvirtClient | null = null;
  let unreachable = "the hypervisor has not been reached yet";

  const emit = (event: HypervisorEvent): void => {
    for (const listener of listeners) listener(event);
  };

  async function connected(): Promise<LibvirtClient> {
    const found = await connect(
      { transport, uri: options.uri ?? "qemu:///system", timers: clock, logger, callTimeoutMs: actMs, longCallTimeoutMs: longMs },
      ending.signal,
    );
    try {
      await subscribeAll(found, emit);
    } catch (error) {
      found.close();
      throw error;
    }
    return found;
  }

  async function keepConnected(): Promise<void> {
    for (let pauseMs = 100; !ending.signal.aborted; pauseMs = Math.min(pauseMs * 2, 5000)) {
      try {
        const found = await connected();
        client = found;
        found.onState((state) => {
          if (state.kind === "connected") emit({ type: "connected" });
          if (state.kind !== "disconnected") return;
          unreachable = state.error.message;
          emit({ type: "disconnected", why: unreachable });
        });
        if (ending.signal.aborted) found.close();
        else emit({ type: "connected" });
        return;
      } catch (error) {
        unreachable = error instanceof Error ? error.message : String(error);
        if (!ending.signal.aborted) logger.warn({ reason: unreachable, nextMs: pauseMs }, "libvirtd cannot be reached yet");
        await sleep(clock, pauseMs, ending.signal).catch(() => {});
      }
    }
  }
  void keepConnected();

  const translate = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw translated(error);
    }
  };
  const use = <T>(work: (client: LibvirtClient) => Promise<T>): Promise<T> =>
    client ? translate(work(client)) : Promise.reject(new HypervisorError("disconnected", `libvirtd does not answer: ${unreachable}`));

  /** All questions at once: a round trip each, one after the other, is what a look would mostly wait for. */
  async function look(from: LibvirtClient, uuid: string, known?: { readonly name: string }): Promise<Domain | null> {
    const { domains } = from;
    const reference = { uuid };
    try {
      const [{ name }, { state, reason }, persistent, mark] = await Promise.all([
        known ?? domains.lookupByUuid(uuid, ask),
        domains.getState(reference, ask),
        domains.isPersistent(reference, ask),
        domains.getMetadata(reference, MetadataType.element, metadataNamespace, 0, ask).then(markOf, (error: unknown) => {
          if (isLibvirtError(error, "noDomainMetadata")) return undefined;
          throw error;
        }),
      ]);
      return { uuid, name, persistent, ...stateOf(state, reason), ...(mark === undefined ? {} : { mark }) };
    } catch (error) {
      if (isLibvirtError(error, "noDomain")) return null;
      throw error;
    }
  }

  const unlessAbsent = async (work: Promise<unknown>, ...codes: readonly ("noDomain" | "operationInvalid")[]): Promise<void> => {
    try {
      await work;
    } catch (error) {
      if (!isLibvirtError(error, ...codes)) throw error;
    }
  };

  return {
    domains: () =>
      use(async (to) => {
        const found = await Promise.all((await to.domains.list(0, ask)).map((reference) => look(to, reference.uuid, reference)));
        return found.filter((domain) => domain !== null);
      }),
    domain: (uuid) => use((to) => look(to, uuid)),
    describe: async (uuid, which) => {
      const flags = which === "definition" ? XmlFlag.inactive | XmlFlag.secure : XmlFlag.secure;
      return parseDomain(await use((to) => to.domains.getXml({ uuid }, flags, ask)));
    },
    define: (xml) => use(async (to) => void (await to.domains.define(xml, 0, act))),
    undefine: (uuid) =>
      use(async (to) => {
        const most = UndefineFlag.managedSave | UndefineFlag.snapshotsMetadata | UndefineFlag.nvram | UndefineFlag.checkpointsMetadata;
        try {
          await unlessAbsent(to.domains.undefine({ uuid }, most | UndefineFlag.tpm, act), "noDomain");
        } catch (error) {
          // Before libvirt 8.9 the TPM's state goes without being asked for.
          if (!isLibvirtError(error, "invalidArgument")) throw error;
          await unlessAbsent(to.domains.undefine({ uuid }, most, act), "noDomain");
        }
      }),
    start: (uuid, { paused }) => use(async (to) => void (await to.domains.create({ uuid }, paused ? CreateFlag.paused : 0, long))),
    shutdown: (uuid) => use((to) => to.domains.shutdown({ uuid }, ShutdownFlag.acpiPowerButton, act)),
    destroy: (uuid) => use((to) => unlessAbsent(to.domains.destroy({ uuid }, 0, long), "noDomain", "operationInvalid")),
    reboot: (uuid) => use((to) => to.domains.reboot({ uuid }, ShutdownFlag.acpiPowerButton, act)),
    reset: (uuid) => use((to) => to.domains.reset({ uuid }, 0, act)),
    suspend: (uuid) => use((to) => to.domains.suspend({ uuid }, act)),
    resume: (uuid) => use((to) => to.domains.resume({ uuid }, act)),
    attachDevice: (uuid, xml, scope) => use((to) => to.domains.attachDevice({ uuid }, xml, affect(scope), act)),
    detachDevice: (uuid, xml, scope) => use((to) => to.domains.detachDevice({ uuid }, xml, affect(scope), act)),
    updateDevice: (uuid, xml, scope) => use((to) => to.domains.updateDevice({ uuid }, xml, affect(scope), act)),
    setVcpus: (uuid, count, scope) => use((to) => to.domains.setVcpus({ uuid }, count, affect(scope), act)),
    pinVcpu: (uuid, vcpu, cpus, scope) => use((to) => to.domains.pinVcpu({ uuid }, vcpu, cpus, affect(scope), act)),
    pinEmulator: (uuid, cpus, scope) => use((to) => to.domains.pinEmulator({ uuid }, cpus, affect(scope), act)),
    setMemory: (uuid, bytes, scope) => use((to) => to.domains.setMemory({ uuid }, Math.floor(bytes / 1024), affect(scope), act)),
    resizeDisk: (uuid, target, bytes) => use((to) => to.domains.blockResize({ uuid }, target, bytes, act)),
    setDiskLimits: (uuid, target, parameters, scope) =>
      use((to) => {
        const params = Object.entries(parameters).map(([name, value]) => parameter.ullong(name, value));
        return to.domains.setBlockIoTune({ uuid }, target, params, affect(scope), act);
      }),
    setScheduler: (uuid, parameters, scope) =>
      use((to) => {
        // Quotas may be -1 (none) and are signed.
        const params = Object.entries(parameters).map(([name, value]) =>
          name.endsWith("quota") ? parameter.llong(name, value) : parameter.ullong(name, value),
        );
        return to.domains.setSchedulerParameters({ uuid }, params, affect(scope), act);
      }),
    setMark: (uuid, mark, scope) =>
      use((to) =>
        to.domains.setMetadata(
          { uuid },
          { type: MetadataType.element, metadata: renderMetadata(mark), key: "sheaf", uri: metadataNamespace },
          affect(scope),
          act,
        ),
      ),
    setAutostart: (uuid, autostart) => use((to) => to.domains.setAutostart({ uuid }, autostart, act)),
    guestFacts: (uuid) =>
      use(async (to) => {
        try {
          // By default a call would wait for a hung guest for ever, and others behind it.
          await to.domains.setAgentResponseTimeout({ uuid }, guestAnswerSeconds, ask);
          const interfaces = await to.domains.interfaceAddresses({ uuid }, AddressSource.agent, ask);
          const info = await to.domains.guestInfo({ uuid }, GuestInfoType.hostname, ask).catch(() => ({}) as Record<string, unknown>);
          const addresses = interfaces.flatMap((each) => (each.name === "lo" ? [] : each.addresses.map(({ address }) => address)));
          return { addresses, ...(typeof info["hostname"] === "string" ? { hostname: info["hostname"] } : {}) };
        } catch (error) {
          if (isLibvirtError(error, "agentUnresponsive", "agentUnsynced")) return "silent";
          if (isLibvirtError(error)) return null;
          throw error;
        }
      }),
    guestChannelOpen: (uuid) => use(async (to) => guestChannelOpen(await to.domains.getXml({ uuid }, 0, ask))),
    statistics: () =>
      use(async (to) => {
        const wanted = DomainStats.cpuTotal | DomainStats.balloon | DomainStats.vcpu | DomainStats.interface | DomainStats.block;
        return (await to.domains.statistics(wanted, DomainStatsFlag.active | DomainStatsFlag.noWait, [], ask)).map(statisticsOf);
      }),
    screenshot: (uuid) =>
      use(async (to) => {
        const { mime, image } = await to.domains.screenshot({ uuid }, 0, act);
        return { mime: mime ?? "application/octet-stream", bytes: image };
      }),
    serial: (uuid) =>
      use(async (to) => {
        const stream = await to.domains.openConsole({ uuid }, null, ConsoleFlag.force, ask);
        return {
          read: async () => {
            const piece = await stream.read();
            return piece === undefined ? undefined : piece.kind === "data" ? piece.data : new Uint8Array(0);
          },
          write: (bytes) => stream.write(bytes),
          close: () => stream.abort(),
        };
      }),
    facts: () =>
      use(async (to) => {
        const { host } = to;
        const capabilitiesXml = await host.capabilities(ask);
        const virtType = /<domain type=['"]kvm['"]/.test(capabilitiesXml) ? "kvm" : "qemu";
        const [libvirtVersion, qemuVersion, domainCapabilitiesXml, cpuModels] = await Promise.all([
          host.libvirtVersion(ask),
          host.hypervisorVersion(ask),
          host.domainCapabilities({ virtType, machine: "q35" }, act),
          host.cpuModels(/<arch>([^<]+)<\/arch>/.exec(capabilitiesXml)?.[1] ?? "x86_64", ask),
        ]);
        return { libvirtVersion, qemuVersion, capabilitiesXml, domainCapabilitiesXml, cpuModels };
      }),
    problems: () => {
      if (!client || client.state.kind !== "connected")
        return [`libvirtd does not answer: ${unreachable}; running guests go on, nothing can be changed`];
      const { hungCalls } = client.health();
      return hungCalls > 0 ? [`${hungCalls} calls to libvirtd got no answer in time: look at the host's storage; other machines are served`] : [];
    },
    snapshots: (uuid) =>
      use(async (to) => {
        const found = await to.snapshots.list({ uuid }, SnapshotListFlag.topological, ask);
        if (found.length === 0) return [];
        const current = await to.snapshots.current({ uuid }, ask);
        const described = found.map(async (each) => ({
          xml: await to.snapshots.getXml(each, XmlFlag.secure, ask),
          current: each.name === current?.name,
        }));
        return Promise.all(described);
      }),
    forgetSnapshots: (uuid) =>
      use(async (to) => {
        // Children first: a snapshot that goes gives its children to its parent, which writes them all anew.
        const found = await to.snapshots.list({ uuid }, SnapshotListFlag.topological, ask);
        for (const each of found.toReversed()) await to.snapshots.delete(each, SnapshotDeleteFlag.metadataOnly, act);
      }),
    defineSnapshots: (uuid, snapshots) =>
      use(async (to) => {
        const { redefine, current } = SnapshotCreateFlag;
        for (const each of snapshots) await to.snapshots.create({ uuid }, each.xml, redefine | (each.current ? current : 0), act);
      }),
    migration: (uuid) => use(async (to) => libvirtMigration(uuid, await to.openMigration(act), translate)),
    job: (uuid, which) =>
      use(async (to) => {
        const { type, values } = await to.domains.jobStats({ uuid }, which === "completed" ? JobStatsFlag.completed : 0, ask);
        return type === JobType.none ? null : jobFiguresOf(values);
      }),
    abortJob: (uuid) => use((to) => unlessAbsent(to.domains.abortJob({ uuid }, act), "noDomain", "operationInvalid")),
    setMaximumDowntime: (uuid, downtimeMs) => use((to) => to.domains.setMigrationMaxDowntime({ uuid }, downtimeMs, ask)),
    startPostCopy: (uuid) => use((to) => to.domains.startPostCopy({ uuid }, ask)),
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => {
      ending.abort(new HypervisorError("disconnected", "the agent is stopping"));
      client?.close();
    },
  };
}

async function subscribeAll(client: LibvirtClient, emit: (event: HypervisorEvent) => void): Promise<void> {
  const names = [
    "lifecycle",
    "reboot",
    "ioErrorReason",
    "agentLifecycle",
    "deviceAdded",
    "deviceRemoved",
    "deviceRemovalFailed",
    "balloonChange",
    "tunable",
    "blockJob2",
    "jobCompleted",
  ] as const;
  await client.events.subscribe(names, (event) => {
    const { uuid } = event.domain;
    switch (event.name) {
      case "lifecycle":
        return emit(lifecycleOf(uuid, event.event, event.detail));
      case "reboot":
        return emit({ type: "reboot", uuid });
      case "ioErrorReason":
        return emit({ type: "io-error", uuid, path: event.sourcePath, reason: event.reason, paused: event.action === IoErrorAction.pause });
      case "agentLifecycle":
        return emit({ type: "guest-agent", uuid, connected: event.state === AgentState.connected });
      default:
        return emit({ type: "changed", uuid });
    }
  });
}

function translated(error: unknown): unknown {
  if (error instanceof LibvirtTimeoutError) return new HypervisorError("timed-out", error.message, { cause: error });
  if (error instanceof LibvirtConnectionError) return new HypervisorError("disconnected", error.message, { cause: error });
  if (isLibvirtError(error, "noDomain")) return new HypervisorError("unknown-domain", error.libvirtMessage, { cause: error });
  if (isLibvirtError(error)) return new HypervisorError("refused", error.libvirtMessage, { cause: error });
  return error;
}
