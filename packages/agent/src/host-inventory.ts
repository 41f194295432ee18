/**
 * What this host is made of: libvirt's capabilities and the kernel's files, as the record that people see. Called by the agent at its
 * start, on changes and every few minutes; only reads. What cannot be read is left out or told as a problem, never guessed.
 */
import { type HostCapabilities, parseCapabilities, parseDomainCapabilities } from "@sheaf/domain-xml";
import type { HostObservation } from "@sheaf/model";
import { readPciDevices } from "./pci-devices.ts";
import type { Domain, Files, HypervisorFacts } from "./ports.ts";

export interface InventoryInput {
  readonly agentVersion: string;
  /** Where the server and other hosts reach this one. */
  readonly address: string;
  /** `null` while the hypervisor does not answer. */
  readonly facts: HypervisorFacts | null;
  readonly domains: readonly Domain[];
  /** Ids of the machines that documents of this host speak for. */
  readonly machines: readonly string[];
  /** Domains with Sheaf's mark that no document of this host speaks for. */
  readonly orphans: ReadonlySet<string>;
  readonly problems: readonly string[];
  /** Global addresses of interfaces, with their prefix lengths. */
  readonly addresses: ReadonlyMap<string, readonly string[]>;
}

export async function readInventory(files: Files, input: InventoryInput): Promise<HostObservation> {
  const { facts } = input;
  const capabilities = facts ? parseCapabilities(facts.capabilitiesXml) : null;
  const processors = await readProcessors(files);
  const ours = new Set(input.domains.flatMap(({ uuid, mark }) => (mark ? [uuid] : [])));
  const { pciDevices, gpus } = await readPciDevices(files, new Set([...ours, ...input.machines]));
  const accelerated = isAccelerated(facts, processors.flags);
  const text = async (path: string): Promise<string> => (await files.readText(path))?.trim() ?? "";
  return {
    hostname: (await text("/proc/sys/kernel/hostname")) || "localhost",
    agentVersion: input.agentVersion,
    bootId: await readBootId(files),
    bootedAt: Number(/^btime (\d+)$/m.exec(await text("/proc/stat"))?.[1] ?? 0) * 1000,
    address: input.address,
    architecture: capabilities?.cpu.architecture || "x86_64",
    cpu: {
      model: processors.model || (capabilities?.cpu.model ?? ""),
      vendor: capabilities?.cpu.vendor || processors.vendor,
      flags: processors.flags,
      sockets: capabilities?.cpu.sockets ?? 1,
      cores: capabilities?.cpu.cores ?? processors.count,
      threads: capabilities?.cpu.threads ?? 1,
      count: processors.count,
      mhz: processors.mhz,
    },
    numa: numaOf(capabilities),
    memoryBytes: await readMemory(files, "MemTotal"),
    disks: await readDisks(files),
    interfaces: await readInterfaces(files, input.addresses),
    pciDevices,
    gpus,
    hypervisor: hypervisorOf(facts, accelerated),
    unmanaged: input.domains
      .filter((domain) => !domain.mark || input.orphans.has(domain.uuid))
      .map(({ uuid, name, state, mark }) => ({ uuid, name, state, ...(mark ? { orphan: true } : {}) })),
    problems: [...input.problems],
  };
}

export async function readBootId(files: Files): Promise<string> {
  return (await files.readText("/proc/sys/kernel/random/boot_id"))?.trim() ?? "";
}

/** Bytes of one line of /proc/meminfo. */
export async function readMemory(files: Files, name: "MemTotal" | "MemAvailable"): Promise<number> {
  const text = (await files.readText("/proc/meminfo")) ?? "";
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
}

/** KVM is believed only where the processor has it too: a /dev/kvm that opens may still run no guest. */
export function isAccelerated(facts: HypervisorFacts | null, flags: readonly string[]): boolean {
  return facts !== null && /<domain type=['"]kvm['"]/.test(facts.capabilitiesXml) && flags.some((flag) => flag === "svm" || flag === "vmx");
}

export async function readProcessorFlags(files: Files): Promise<readonly string[]> {
  return (await readProcessors(files)).flags;
}

async function readProcessors(files: Files): Promise<{ model: string; vendor: string; flags: string[]; count: number; mhz: number }> {
  const text = (await files.readText("/proc/cpuinfo")) ?? "";
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1]?.trim() ?? "";
  return {
    model: field("model name"),
    vendor: field("vendor_id"),
    flags: (field("flags") || field("Features")).split(/\s+/).filter((flag) => flag !== ""),
    count: Math.max(1, text.match(/^processor\s*:/gm)?.length ?? 0),
    // The momentary clock of a core changes all the time: rounded, so that it makes no news.
    mhz: Math.round(Number(field("cpu MHz") || 0) / 100) * 100,
  };
}

const numaOf = (capabilities: HostCapabilities | null): HostObservation["numa"] =>
  (capabilities?.numa ?? []).map(({ id, cpus, siblings, memoryBytes, hugepages }) => ({
    cell: id,
    cpus: [...cpus],
    ...(siblings.length === 0 ? {} : { siblings: siblings.map((core) => [...core]) }),
    memoryBytes,
    hugepages: [...hugepages],
  }));

function hypervisorOf(facts: HypervisorFacts | null, accelerated: boolean): HostObservation["hypervisor"] {
  const none = {
    type: "qemu",
    libvirtVersion: "",
    qemuVersion: "",
    accelerated: false,
    machineTypes: [],
    cpuModels: [],
    uefi: false,
    secureBoot: false,
    tpm: false,
  } as const;
  if (!facts) return { ...none, machineTypes: [], cpuModels: [] };
  const domain = parseDomainCapabilities(facts.domainCapabilitiesXml);
  const capabilities = parseCapabilities(facts.capabilitiesXml);
  const guest = capabilities.guests.find(({ architecture }) => architecture === capabilities.cpu.architecture);
  return {
    type: "qemu",
    libvirtVersion: facts.libvirtVersion,
    qemuVersion: facts.qemuVersion,
    accelerated,
    machineTypes: [...(guest?.machineTypes ?? [])].sort(),
    cpuModels: [...domain.cpuModels].sort(),
    uefi: domain.uefi,
    secureBoot: domain.secureBoot,
    tpm: domain.tpm,
  };
}

async function readDisks(files: Files): Promise<HostObservation["disks"]> {
  const names = (await files.list("/sys/block")).filter((name) => !/^(loop|ram|zram|sr|fd|dm-|md|nbd)/.test(name));
  return Promise.all(
    names.map(async (name) => {
      const text = async (file: string): Promise<string> => (await files.readText(`/sys/block/${name}/${file}`).catch(() => null))?.trim() ?? "";
      // Sectors of 512 bytes, whatever the disk's own are (Linux, Documentation/block/stat).
      return {
        name,
        sizeBytes: Number(await text("size")) * 512,
        rotational: (await text("queue/rotational")) === "1",
        model: await text("device/model"),
      };
    }),
  );
}

async function readInterfaces(files: Files, addresses: InventoryInput["addresses"]): Promise<HostObservation["interfaces"]> {
  // Guests' own devices come and go with them.
  const names = (await files.list("/sys/class/net")).filter((name) => !/^(lo|tap-|vnet|macvtap)/.test(name));
  return Promise.all(
    names.map(async (name) => {
      // Reading some of these files fails while the link is down.
      const text = async (file: string): Promise<string> => (await files.readText(`/sys/class/net/${name}/${file}`).catch(() => null))?.trim() ?? "";
      const speed = Number(await text("speed"));
      return {
        name,
        mac: await text("address"),
        mtu: Number(await text("mtu")) || 0,
        up: (await text("operstate")) === "up",
        bridge: (await files.facts(`/sys/class/net/${name}/bridge`)) !== null,
        addresses: [...(addresses.get(name) ?? [])],
        ...(speed > 0 ? { speedMbit: speed } : {}),
      };
    }),
  );
}
