/** The host and its daemon, said shortly: what they are, can do and have left. Also networks, secrets and the host's devices. */
import type { Caller, CallOptions } from "./calls.ts";
import { ALL_CELLS, ALL_CPUS } from "./flags.ts";
import type { NetworkReference, SecretReference } from "./structures.ts";

export interface HypervisorCpuTarget {
  /** null: libvirt's default for the host. */
  readonly emulator?: string | null;
  readonly arch?: string | null;
  readonly machine?: string | null;
  readonly virtType?: string | null;
}

const target = ({ emulator = null, arch = null, machine = null, virtType = null }: HypervisorCpuTarget) => ({ emulator, arch, machine, virtType });

export function hostCalls({ call }: Pick<Caller, "call">) {
  return {
    capabilities: async (options?: CallOptions) => (await call("connectGetCapabilities", {}, options)).capabilities,
    domainCapabilities: async (wanted: HypervisorCpuTarget = {}, options?: CallOptions) =>
      (await call("connectGetDomainCapabilities", { ...target(wanted), flags: 0 }, options)).capabilities,
    hostname: async (options?: CallOptions) => (await call("connectGetHostname", {}, options)).hostname,
    /** As text, for example `9.0.0`. */
    libvirtVersion: async (options?: CallOptions) => versionText((await call("connectGetLibVersion", {}, options)).version),
    /** The hypervisor's, as text, for example `7.2.22`. */
    hypervisorVersion: async (options?: CallOptions) => versionText((await call("connectGetVersion", {}, options)).version),
    type: async (options?: CallOptions) => (await call("connectGetType", {}, options)).type,
    uri: async (options?: CallOptions) => (await call("connectGetUri", {}, options)).uri,
    sysinfo: async (options?: CallOptions) => (await call("connectGetSysinfo", { flags: 0 }, options)).sysinfo,
    /** Memory in KiB. */
    nodeInfo: (options?: CallOptions) => call("nodeGetInfo", {}, options),
    /** By libvirt's names (`kernel`, `user`, `idle`, `iowait`); ns since boot. */
    cpuStats: async (cpu = ALL_CPUS, options?: CallOptions): Promise<Readonly<Record<string, bigint>>> => {
      const { count } = await call("nodeGetCpuStats", { cpu, count: 0, flags: 0 }, options);
      const { stats } = await call("nodeGetCpuStats", { cpu, count, flags: 0 }, options);
      return Object.fromEntries(stats.map(({ field, value }) => [field, value]));
    },
    /** By libvirt's names (`total`, `free`, `buffers`, `cached`); KiB. */
    memoryStats: async (cell = ALL_CELLS, options?: CallOptions): Promise<Readonly<Record<string, number>>> => {
      const { count } = await call("nodeGetMemoryStats", { cell, count: 0, flags: 0 }, options);
      const { stats } = await call("nodeGetMemoryStats", { cell, count, flags: 0 }, options);
      return Object.fromEntries(stats.map(({ field, value }) => [field, Number(value)]));
    },
    /** Bytes. */
    freeMemory: async (options?: CallOptions) => (await call("nodeGetFreeMemory", {}, options)).freeMemory,
    /** Bytes, by NUMA cell. */
    cellsFreeMemory: async (startCell = 0, maxCells = 1_024, options?: CallOptions) =>
      (await call("nodeGetCellsFreeMemory", { startCell, maxCells }, options)).cells,
    /** Free pages by page size (KiB), for each cell from `startCell`. */
    freePages: async (pageSizesKib: readonly number[], startCell = 0, cellCount = 1, options?: CallOptions) =>
      (await call("nodeGetFreePages", { pages: pageSizesKib, startCell, cellCount, flags: 0 }, options)).counts,
    /** `CpuComparison` of a CPU's XML with this host's. */
    compareCpu: async (xml: string, flags = 0, options?: CallOptions) => (await call("connectCompareCpu", { xml, flags }, options)).result,
    /** The richest CPU that all of the given ones have. */
    baselineCpu: async (xmlCpus: readonly string[], flags = 0, options?: CallOptions) =>
      (await call("connectBaselineCpu", { xmlCpus, flags }, options)).cpu,
    compareHypervisorCpu: async (xmlCpu: string, wanted: HypervisorCpuTarget = {}, flags = 0, options?: CallOptions) =>
      (await call("connectCompareHypervisorCpu", { ...target(wanted), xmlCpu, flags }, options)).result,
    baselineHypervisorCpu: async (xmlCpus: readonly string[], wanted: HypervisorCpuTarget = {}, flags = 0, options?: CallOptions) =>
      (await call("connectBaselineHypervisorCpu", { ...target(wanted), xmlCpus, flags }, options)).cpu,
    cpuModels: async (arch: string, options?: CallOptions) =>
      (await call("connectGetCpuModelNames", { arch, needResults: true, flags: 0 }, options)).models,
  };
}

export function networkCalls({ call }: Pick<Caller, "call">) {
  return {
    list: async (flags = 0, options?: CallOptions) => (await call("connectListAllNetworks", { needResults: true, flags }, options)).networks,
    lookupByName: async (name: string, options?: CallOptions) => (await call("networkLookupByName", { name }, options)).network,
    lookupByUuid: async (uuid: string, options?: CallOptions) => (await call("networkLookupByUuid", { uuid }, options)).network,
    define: async (xml: string, options?: CallOptions) => (await call("networkDefineXml", { xml }, options)).network,
    undefine: async (network: NetworkReference, options?: CallOptions) => void (await call("networkUndefine", { network }, options)),
    create: async (network: NetworkReference, options?: CallOptions) => void (await call("networkCreate", { network }, options)),
    destroy: async (network: NetworkReference, options?: CallOptions) => void (await call("networkDestroy", { network }, options)),
    /** `NetworkUpdateCommand`, `NetworkUpdateSection`. */
    update: async (
      network: NetworkReference,
      change: { readonly command: number; readonly section: number; readonly parentIndex?: number; readonly xml: string },
      flags = 0,
      options?: CallOptions,
    ) => void (await call("networkUpdate", { network, parentIndex: -1, ...change, flags }, options)),
    getXml: async (network: NetworkReference, flags = 0, options?: CallOptions) => (await call("networkGetXmlDesc", { network, flags }, options)).xml,
    setAutostart: async (network: NetworkReference, autostart: boolean, options?: CallOptions) =>
      void (await call("networkSetAutostart", { network, autostart }, options)),
    isActive: async (network: NetworkReference, options?: CallOptions) => (await call("networkIsActive", { network }, options)).active,
    leases: async (network: NetworkReference, mac: string | null = null, options?: CallOptions) =>
      (await call("networkGetDhcpLeases", { network, mac, needResults: true, flags: 0 }, options)).leases,
  };
}

export function secretCalls({ call }: Pick<Caller, "call">) {
  return {
    list: async (flags = 0, options?: CallOptions) => (await call("connectListAllSecrets", { needResults: true, flags }, options)).secrets,
    lookupByUuid: async (uuid: string, options?: CallOptions) => (await call("secretLookupByUuid", { uuid }, options)).secret,
    lookupByUsage: async (usageType: number, usageId: string, options?: CallOptions) =>
      (await call("secretLookupByUsage", { usageType, usageId }, options)).secret,
    define: async (xml: string, flags = 0, options?: CallOptions) => (await call("secretDefineXml", { xml, flags }, options)).secret,
    setValue: async (secret: SecretReference, value: Uint8Array, options?: CallOptions) =>
      void (await call("secretSetValue", { secret, value, flags: 0 }, options)),
    getValue: async (secret: SecretReference, options?: CallOptions) => (await call("secretGetValue", { secret, flags: 0 }, options)).value,
    undefine: async (secret: SecretReference, options?: CallOptions) => void (await call("secretUndefine", { secret }, options)),
  };
}

export function nodeDeviceCalls({ call }: Pick<Caller, "call">) {
  return {
    /** `NodeDeviceListFlag`; 0: all. */
    list: async (flags = 0, options?: CallOptions) => (await call("connectListAllNodeDevices", { needResults: true, flags }, options)).devices,
    getXml: async (name: string, options?: CallOptions) => (await call("nodeDeviceGetXmlDesc", { name, flags: 0 }, options)).xml,
    getParent: async (name: string, options?: CallOptions) => (await call("nodeDeviceGetParent", { name }, options)).parentName,
    /** Takes a PCI device from the host, for a guest. `driverName` null: the default (vfio). */
    detach: async (name: string, driverName: string | null = null, options?: CallOptions) =>
      void (await call("nodeDeviceDetachFlags", { name, driverName, flags: 0 }, options)),
    /** Gives it back to the host. */
    reattach: async (name: string, options?: CallOptions) => void (await call("nodeDeviceReAttach", { name }, options)),
    reset: async (name: string, options?: CallOptions) => void (await call("nodeDeviceReset", { name }, options)),
    createXml: async (xml: string, options?: CallOptions) => (await call("nodeDeviceCreateXml", { xml, flags: 0 }, options)).device,
    destroy: async (name: string, options?: CallOptions) => void (await call("nodeDeviceDestroy", { name }, options)),
  };
}

/** libvirt's version number: major * 1,000,000 + minor * 1,000 + release. */
export function versionText(version: number): string {
  return `${Math.floor(version / 1_000_000)}.${Math.floor(version / 1_000) % 1_000}.${version % 1_000}`;
}
