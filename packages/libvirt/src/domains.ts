/** Domains, said shortly: the calls an application makes, with flags that default to 0. A thin layer over `call`; it decides nothing. */
import type { Caller, CallOptions } from "./calls.ts";
import { TYPED_PARAM_STRING_OKAY } from "./flags.ts";
import type { DomainReference } from "./structures.ts";
import { type ParameterValue, parametersToRecord, type TypedParameter } from "./typed-params.ts";

/** A domain, by what libvirt finds it by. Name and id are welcome in messages and may be missing. */
export interface DomainHandle {
  readonly uuid: string;
  readonly name?: string | undefined;
  readonly id?: number | undefined;
}

export function domainReference(handle: DomainHandle): DomainReference {
  return { uuid: handle.uuid, name: handle.name ?? "", id: handle.id ?? -1 };
}

export interface DomainStatistics {
  readonly domain: DomainReference;
  /** By libvirt's names: `balloon.current`, `vcpu.0.time`, `block.0.rd.bytes` (see virConnectGetAllDomainStats). */
  readonly values: Readonly<Record<string, ParameterValue>>;
}

const ref = domainReference;

export function domainCalls({ call }: Pick<Caller, "call">) {
  return {
    /** All domains, or those that `flags` (`ListDomainsFlag`) select. */
    list: async (flags = 0, options?: CallOptions) => (await call("connectListAllDomains", { needResults: true, flags }, options)).domains,
    lookupByUuid: async (uuid: string, options?: CallOptions) => (await call("domainLookupByUuid", { uuid }, options)).domain,
    lookupByName: async (name: string, options?: CallOptions) => (await call("domainLookupByName", { name }, options)).domain,
    lookupById: async (id: number, options?: CallOptions) => (await call("domainLookupById", { id }, options)).domain,

    /** Defines or redefines a persistent domain. */
    define: async (xml: string, flags = 0, options?: CallOptions) => (await call("domainDefineXmlFlags", { xml, flags }, options)).domain,
    undefine: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      void (await call("domainUndefineFlags", { domain: ref(domain), flags }, options)),
    /** Starts a domain that is not persistent. */
    createTransient: async (xml: string, flags = 0, options?: CallOptions) => (await call("domainCreateXml", { xml, flags }, options)).domain,
    /** Starts a defined domain; `CreateFlag.paused` leaves it paused. */
    create: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      (await call("domainCreateWithFlags", { domain: ref(domain), flags }, options)).domain,
    /** Pulls the plug; with `DestroyFlag.graceful` only if QEMU ends on SIGTERM. */
    destroy: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      void (await call("domainDestroyFlags", { domain: ref(domain), flags }, options)),
    /** Asks the guest to shut down; returns when it was asked. */
    shutdown: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      void (await call("domainShutdownFlags", { domain: ref(domain), flags }, options)),
    reboot: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      void (await call("domainReboot", { domain: ref(domain), flags }, options)),
    reset: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      void (await call("domainReset", { domain: ref(domain), flags }, options)),
    suspend: async (domain: DomainHandle, options?: CallOptions) => void (await call("domainSuspend", { domain: ref(domain) }, options)),
    resume: async (domain: DomainHandle, options?: CallOptions) => void (await call("domainResume", { domain: ref(domain) }, options)),
    /** Only while it is not running. */
    rename: async (domain: DomainHandle, newName: string, options?: CallOptions) =>
      void (await call("domainRename", { domain: ref(domain), newName, flags: 0 }, options)),
    getAutostart: async (domain: DomainHandle, options?: CallOptions) =>
      (await call("domainGetAutostart", { domain: ref(domain) }, options)).autostart,
    setAutostart: async (domain: DomainHandle, autostart: boolean, options?: CallOptions) =>
      void (await call("domainSetAutostart", { domain: ref(domain), autostart }, options)),

    getXml: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      (await call("domainGetXmlDesc", { domain: ref(domain), flags }, options)).xml,
    /** `DomainState` and its reason. */
    getState: (domain: DomainHandle, options?: CallOptions) => call("domainGetState", { domain: ref(domain), flags: 0 }, options),
    /** Memory in KiB, CPU time in ns. */
    getInfo: (domain: DomainHandle, options?: CallOptions) => call("domainGetInfo", { domain: ref(domain) }, options),
    /** Whether the monitor answers: `state` 0 ok, 1 busy with a job, 2 occupied by a command, 3 error. */
    getControlInfo: (domain: DomainHandle, options?: CallOptions) => call("domainGetControlInfo", { domain: ref(domain), flags: 0 }, options),
    isActive: async (domain: DomainHandle, options?: CallOptions) => (await call("domainIsActive", { domain: ref(domain) }, options)).active,
    isPersistent: async (domain: DomainHandle, options?: CallOptions) =>
      (await call("domainIsPersistent", { domain: ref(domain) }, options)).persistent,
    /** `uri` names the element; it is required for `MetadataType.element` and null otherwise. `metadata` null removes it. */
    setMetadata: async (
      domain: DomainHandle,
      metadata: { readonly type: number; readonly metadata: string | null; readonly key: string | null; readonly uri: string | null },
      flags = 0,
      options?: CallOptions,
    ) => void (await call("domainSetMetadata", { domain: ref(domain), ...metadata, flags }, options)),
    /** Fails with `noDomainMetadata` when there is none. */
    getMetadata: async (domain: DomainHandle, type: number, uri: string | null = null, flags = 0, options?: CallOptions) =>
      (await call("domainGetMetadata", { domain: ref(domain), type, uri, flags }, options)).metadata,

    attachDevice: async (domain: DomainHandle, xml: string, flags = 0, options?: CallOptions) =>
      void (await call("domainAttachDeviceFlags", { domain: ref(domain), xml, flags }, options)),
    /** Returns when the guest was asked to let go; `deviceRemoved` or `deviceRemovalFailed` tells the outcome. */
    detachDevice: async (domain: DomainHandle, xml: string, flags = 0, options?: CallOptions) =>
      void (await call("domainDetachDeviceFlags", { domain: ref(domain), xml, flags }, options)),
    detachDeviceAlias: async (domain: DomainHandle, alias: string, flags = 0, options?: CallOptions) =>
      void (await call("domainDetachDeviceAlias", { domain: ref(domain), alias, flags }, options)),
    updateDevice: async (domain: DomainHandle, xml: string, flags = 0, options?: CallOptions) =>
      void (await call("domainUpdateDeviceFlags", { domain: ref(domain), xml, flags }, options)),

    /** KiB. With `MemoryFlag.maximum` the maximum. */
    setMemory: async (domain: DomainHandle, memoryKib: number, flags = 0, options?: CallOptions) =>
      void (await call("domainSetMemoryFlags", { domain: ref(domain), memory: memoryKib, flags }, options)),
    /** Seconds between the balloon's statistics; 0 turns them off. */
    setMemoryStatsPeriod: async (domain: DomainHandle, periodSeconds: number, flags = 0, options?: CallOptions) =>
      void (await call("domainSetMemoryStatsPeriod", { domain: ref(domain), period: periodSeconds, flags }, options)),
    /** By `MemoryStatTag`; KiB. */
    memoryStats: async (domain: DomainHandle, options?: CallOptions): Promise<ReadonlyMap<number, number>> => {
      const { stats } = await call("domainMemoryStats", { domain: ref(domain), maxStats: 64, flags: 0 }, options);
      return new Map(stats.map(({ tag, value }) => [tag, value]));
    },
    setVcpus: async (domain: DomainHandle, count: number, flags = 0, options?: CallOptions) =>
      void (await call("domainSetVcpusFlags", { domain: ref(domain), count, flags }, options)),
    getVcpus: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      (await call("domainGetVcpusFlags", { domain: ref(domain), flags }, options)).count,
    /** `cpus`: the host's processors the vCPU may run on. */
    pinVcpu: async (domain: DomainHandle, vcpu: number, cpus: readonly number[], flags = 0, options?: CallOptions) =>
      void (await call("domainPinVcpuFlags", { domain: ref(domain), vcpu, cpuMap: cpuMap(cpus), flags }, options)),
    pinEmulator: async (domain: DomainHandle, cpus: readonly number[], flags = 0, options?: CallOptions) =>
      void (await call("domainPinEmulator", { domain: ref(domain), cpuMap: cpuMap(cpus), flags }, options)),
    setSchedulerParameters: async (domain: DomainHandle, params: readonly TypedParameter[], flags = 0, options?: CallOptions) =>
      void (await call("domainSetSchedulerParametersFlags", { domain: ref(domain), params, flags }, options)),
    /** `device`: the target (`vnet0`) or the MAC address. */
    setInterfaceParameters: async (domain: DomainHandle, device: string, params: readonly TypedParameter[], flags = 0, options?: CallOptions) =>
      void (await call("domainSetInterfaceParameters", { domain: ref(domain), device, params, flags }, options)),
    /** Addresses as the guest agent, the DHCP leases or the ARP table (`AddressSource`) have them. */
    interfaceAddresses: async (domain: DomainHandle, source: number, options?: CallOptions) =>
      (await call("domainInterfaceAddresses", { domain: ref(domain), source, flags: 0 }, options)).interfaces,

    /** Statistics of many domains in one call: `stats` from `DomainStats` (0: all), `flags` from `DomainStatsFlag`, no domains: all. */
    statistics: async (stats = 0, flags = 0, domains: readonly DomainHandle[] = [], options?: CallOptions): Promise<readonly DomainStatistics[]> => {
      const { records } = await call("connectGetAllDomainStats", { domains: domains.map(ref), stats, flags }, options);
      return records.map(({ domain, params }) => ({ domain, values: parametersToRecord(params) }));
    },

    managedSave: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      void (await call("domainManagedSave", { domain: ref(domain), flags }, options)),
    hasManagedSave: async (domain: DomainHandle, options?: CallOptions) =>
      (await call("domainHasManagedSaveImage", { domain: ref(domain), flags: 0 }, options)).exists,
    removeManagedSave: async (domain: DomainHandle, options?: CallOptions) =>
      void (await call("domainManagedSaveRemove", { domain: ref(domain), flags: 0 }, options)),
    save: async (domain: DomainHandle, to: string, xml: string | null = null, flags = 0, options?: CallOptions) =>
      void (await call("domainSaveFlags", { domain: ref(domain), to, xml, flags }, options)),
    restore: async (from: string, xml: string | null = null, flags = 0, options?: CallOptions) =>
      void (await call("domainRestoreFlags", { from, xml, flags }, options)),

    /** `keyCodes` are pressed together for `holdTimeMs`, at most 16. */
    sendKey: async (domain: DomainHandle, codeSet: number, keyCodes: readonly number[], holdTimeMs = 0, options?: CallOptions) =>
      void (await call("domainSendKey", { domain: ref(domain), codeSet, holdTime: holdTimeMs, keyCodes, flags: 0 }, options)),
    injectNmi: async (domain: DomainHandle, options?: CallOptions) =>
      void (await call("domainInjectNmi", { domain: ref(domain), flags: 0 }, options)),
    /** `command` and answer are JSON texts; `timeoutSeconds` or `AgentTimeout`. */
    agentCommand: async (domain: DomainHandle, command: string, timeoutSeconds = -1, options?: CallOptions) =>
      (await call("qemuDomainAgentCommand", { domain: ref(domain), command, timeout: timeoutSeconds, flags: 0 }, options)).result,
    /** How long calls wait for the guest's agent from now on; by libvirt's own default for ever. Seconds or `AgentTimeout`. */
    setAgentResponseTimeout: async (domain: DomainHandle, timeoutSeconds: number, options?: CallOptions) =>
      void (await call("domainAgentSetResponseTimeout", { domain: ref(domain), timeout: timeoutSeconds, flags: 0 }, options)),
    /** A QMP command as JSON text, or a human one with `MonitorCommandFlag.human`. Marks the domain as tainted. */
    monitorCommand: async (domain: DomainHandle, command: string, flags = 0, options?: CallOptions) =>
      (await call("qemuDomainMonitorCommand", { domain: ref(domain), command, flags }, options)).result,
    freezeFileSystems: async (domain: DomainHandle, mountPoints: readonly string[] = [], options?: CallOptions) =>
      (await call("domainFsfreeze", { domain: ref(domain), mountPoints, flags: 0 }, options)).fileSystems,
    thawFileSystems: async (domain: DomainHandle, mountPoints: readonly string[] = [], options?: CallOptions) =>
      (await call("domainFsthaw", { domain: ref(domain), mountPoints, flags: 0 }, options)).fileSystems,
    /** What the agent knows, by libvirt's names (`os.name`, `fs.0.mountpoint`); `types` from `GuestInfoType`, 0: all. */
    guestInfo: async (domain: DomainHandle, types = 0, options?: CallOptions) =>
      parametersToRecord((await call("domainGetGuestInfo", { domain: ref(domain), types, flags: 0 }, options)).params),

    /** `JobType` and libvirt's values (`data_remaining`, `downtime`, ...; bytes and ms). */
    jobStats: async (domain: DomainHandle, flags = 0, options?: CallOptions) => {
      const { type, params } = await call("domainGetJobStats", { domain: ref(domain), flags }, options);
      return { type, values: parametersToRecord(params) };
    },
    abortJob: async (domain: DomainHandle, options?: CallOptions) => void (await call("domainAbortJob", { domain: ref(domain) }, options)),
    setMigrationMaxDowntime: async (domain: DomainHandle, downtimeMs: number, options?: CallOptions) =>
      void (await call("domainMigrateSetMaxDowntime", { domain: ref(domain), downtime: downtimeMs, flags: 0 }, options)),
    getMigrationMaxDowntime: async (domain: DomainHandle, options?: CallOptions) =>
      (await call("domainMigrateGetMaxDowntime", { domain: ref(domain), flags: 0 }, options)).downtime,
    /** MiB/s, libvirt's unit; flags from `MaxSpeedFlag`. */
    setMigrationMaxSpeed: async (domain: DomainHandle, mebibytesPerSecond: number, flags = 0, options?: CallOptions) =>
      void (await call("domainMigrateSetMaxSpeed", { domain: ref(domain), bandwidth: mebibytesPerSecond, flags }, options)),
    getMigrationMaxSpeed: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      (await call("domainMigrateGetMaxSpeed", { domain: ref(domain), flags }, options)).bandwidth,
    /** Only for a running migration that was begun with `MigrateFlag.postCopy`. */
    startPostCopy: async (domain: DomainHandle, options?: CallOptions) =>
      void (await call("domainMigrateStartPostCopy", { domain: ref(domain), flags: 0 }, options)),

    /** By libvirt's names (`total_bytes_sec`, `group_name`). */
    getBlockIoTune: async (domain: DomainHandle, disk: string, flags = 0, options?: CallOptions) => {
      const args = { domain: ref(domain), disk, flags: flags | TYPED_PARAM_STRING_OKAY };
      const { count } = await call("domainGetBlockIoTune", { ...args, count: 0 }, options);
      return parametersToRecord((await call("domainGetBlockIoTune", { ...args, count }, options)).params);
    },
    setBlockIoTune: async (domain: DomainHandle, disk: string, params: readonly TypedParameter[], flags = 0, options?: CallOptions) =>
      void (await call("domainSetBlockIoTune", { domain: ref(domain), disk, params, flags }, options)),
    /** Bytes: sets the flag that says so. */
    blockResize: async (domain: DomainHandle, disk: string, sizeBytes: number, options?: CallOptions) =>
      void (await call("domainBlockResize", { domain: ref(domain), disk, size: sizeBytes, flags: 1 }, options)),
    /** Bytes. */
    blockInfo: (domain: DomainHandle, disk: string, options?: CallOptions) =>
      call("domainGetBlockInfo", { domain: ref(domain), path: disk, flags: 0 }, options),
    blockCopy: async (
      domain: DomainHandle,
      disk: string,
      destinationXml: string,
      params: readonly TypedParameter[] = [],
      flags = 0,
      options?: CallOptions,
    ) => void (await call("domainBlockCopy", { domain: ref(domain), path: disk, destinationXml, params, flags }, options)),
    /** Undefined when no job runs on the disk. */
    blockJobInfo: async (domain: DomainHandle, disk: string, flags = 0, options?: CallOptions) => {
      const { found, ...info } = await call("domainGetBlockJobInfo", { domain: ref(domain), path: disk, flags }, options);
      return found ? info : undefined;
    },
    blockJobAbort: async (domain: DomainHandle, disk: string, flags = 0, options?: CallOptions) =>
      void (await call("domainBlockJobAbort", { domain: ref(domain), path: disk, flags }, options)),
    blockJobSetSpeed: async (domain: DomainHandle, disk: string, bandwidth: number, flags = 0, options?: CallOptions) =>
      void (await call("domainBlockJobSetSpeed", { domain: ref(domain), path: disk, bandwidth, flags }, options)),
    /** `base` and `top` null: libvirt's defaults. Down to a shared base image this ruins it for others: give `base` or `shallow`. */
    blockCommit: async (
      domain: DomainHandle,
      disk: string,
      { base = null, top = null, bandwidth = 0, flags = 0 }: { base?: string | null; top?: string | null; bandwidth?: number; flags?: number } = {},
      options?: CallOptions,
    ) => void (await call("domainBlockCommit", { domain: ref(domain), disk, base, top, bandwidth, flags }, options)),
    blockPull: async (domain: DomainHandle, disk: string, bandwidth = 0, flags = 0, options?: CallOptions) =>
      void (await call("domainBlockPull", { domain: ref(domain), path: disk, bandwidth, flags }, options)),
    /** Bytes written after which `blockThreshold` comes once. `device`: `vda` or `vda[1]`. */
    setBlockThreshold: async (domain: DomainHandle, device: string, thresholdBytes: number, options?: CallOptions) =>
      void (await call("domainSetBlockThreshold", { domain: ref(domain), device, threshold: thresholdBytes, flags: 0 }, options)),
    backupBegin: async (domain: DomainHandle, backupXml: string, checkpointXml: string | null = null, flags = 0, options?: CallOptions) =>
      void (await call("domainBackupBegin", { domain: ref(domain), backupXml, checkpointXml, flags }, options)),
  };
}

/** One bit a processor. */
export function cpuMap(cpus: readonly number[]): Uint8Array {
  const map = new Uint8Array(Math.floor(Math.max(0, ...cpus) / 8) + 1);
  for (const cpu of cpus) map[cpu >> 3] = (map[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return map;
}

export type Domains = ReturnType<typeof domainCalls>;
