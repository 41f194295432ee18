/** What a hypervisor says of its host and of the guests it can run: the source of the agent's inventory. */
import { parseNumberList } from "@sheaf/base";
import { amount } from "./parse-domain.ts";
import { type XmlNode, readXml, wholeNumber } from "./xml-reader.ts";

export interface HostCapabilities {
  readonly uuid: string;
  readonly cpu: {
    readonly architecture: string;
    /** libvirt's nearest model, such as `EPYC`. */
    readonly model: string;
    readonly vendor: string;
    /** Features beyond the model. */
    readonly features: readonly string[];
    readonly sockets: number;
    /** A socket. */
    readonly cores: number;
    /** A core. */
    readonly threads: number;
  };
  readonly numa: readonly NumaCell[];
  readonly guests: readonly GuestCapabilities[];
}

export interface NumaCell {
  readonly id: number;
  readonly memoryBytes: number;
  /** Numbers of the host's logical CPUs. */
  readonly cpus: readonly number[];
  /** Those that share a core, where some do. */
  readonly siblings: readonly (readonly number[])[];
  /** All sizes but the ordinary 4 KiB. */
  readonly hugepages: readonly { readonly sizeBytes: number; readonly count: number }[];
}

export interface GuestCapabilities {
  readonly osType: string;
  readonly architecture: string;
  readonly emulator: string;
  /** `qemu`, `kvm`: with `kvm`, hardware acceleration is there. */
  readonly domainTypes: readonly string[];
  /** Aliases (`q35`) and versioned names, without repeats. */
  readonly machineTypes: readonly string[];
}

/** virConnectGetCapabilities. @throws SheafError `internal` where the text is something else */
export function parseCapabilities(xml: string): HostCapabilities {
  const capabilities = readXml(xml, "capabilities");
  const cpu = capabilities.find("host/cpu");
  const topology = (name: string): number => wholeNumber(cpu?.attribute("topology", name)) ?? 1;
  return {
    uuid: capabilities.textOf("host/uuid") ?? "",
    cpu: {
      architecture: cpu?.textOf("arch") ?? "",
      model: cpu?.textOf("model") ?? "",
      vendor: cpu?.textOf("vendor") ?? "",
      features: names(cpu?.all("feature")),
      sockets: topology("sockets"),
      cores: topology("cores") * topology("dies"),
      threads: topology("threads"),
    },
    numa: capabilities.all("host/topology/cells/cell").map(parseCell),
    guests: capabilities.all("guest").flatMap(parseGuest),
  };
}

function parseCell(cell: XmlNode): NumaCell {
  return {
    id: wholeNumber(cell.attributes["id"]) ?? 0,
    memoryBytes: amount(cell.find("memory")) ?? 0,
    cpus: cell.all("cpus/cpu").map((cpu) => wholeNumber(cpu.attributes["id"]) ?? 0),
    siblings: siblingsOf(cell.all("cpus/cpu")),
    hugepages: cell.all("pages").flatMap((pages) => {
      const sizeBytes = (wholeNumber(pages.attributes["size"]) ?? 0) * 1024;
      return sizeBytes > 4096 ? [{ sizeBytes, count: wholeNumber(pages.text) ?? 0 }] : [];
    }),
  };
}

/** `siblings='0-1,8'` of every CPU. */
function siblingsOf(cpus: readonly XmlNode[]): number[][] {
  const cores = new Set(cpus.map((cpu) => cpu.attributes["siblings"] ?? ""));
  return [...cores].map(parseNumberList).filter((core) => core.length > 1);
}

function parseGuest(guest: XmlNode): GuestCapabilities[] {
  return guest.all("arch").map((arch) => ({
    osType: guest.textOf("os_type") ?? "",
    architecture: arch.attributes["name"] ?? "",
    emulator: arch.textOf("emulator") ?? "",
    domainTypes: arch.all("domain").map((domain) => domain.attributes["type"] ?? ""),
    machineTypes: [...new Set([...arch.all("machine"), ...arch.all("domain").flatMap((domain) => domain.all("machine"))].map(({ text }) => text))],
  }));
}

export interface DomainCapabilities {
  readonly emulator: string;
  readonly type: string;
  readonly machineType: string;
  readonly architecture: string;
  readonly maximumVcpus: number;
  readonly cpuModes: readonly string[];
  /** Named models that this host can run guests with. */
  readonly cpuModels: readonly string[];
  readonly uefi: boolean;
  readonly secureBoot: boolean;
  /** Paths of firmware images. */
  readonly loaders: readonly string[];
  /** An emulated TPM 2.0 (swtpm). */
  readonly tpm: boolean;
}

/** virConnectGetDomainCapabilities. @throws SheafError `internal` where the text is something else */
export function parseDomainCapabilities(xml: string): DomainCapabilities {
  const capabilities = readXml(xml, "domainCapabilities");
  const values = (path: string, name: string): readonly string[] => {
    const list = capabilities.all(`${path}/enum`).find((node) => node.attributes["name"] === name);
    return list?.all("value").map(({ text }) => text) ?? [];
  };
  const modes = capabilities.all("cpu/mode").filter(supported);
  const custom = modes.find((mode) => mode.attributes["name"] === "custom");
  const uefi = values("os", "firmware").includes("efi");
  const tpm = capabilities.find("devices/tpm");
  const versions = values("devices/tpm", "backendVersion");
  return {
    emulator: capabilities.textOf("path") ?? "",
    type: capabilities.textOf("domain") ?? "",
    machineType: capabilities.textOf("machine") ?? "",
    architecture: capabilities.textOf("arch") ?? "",
    maximumVcpus: wholeNumber(capabilities.attribute("vcpu", "max")) ?? 0,
    cpuModes: names(modes),
    cpuModels: custom?.all("model").flatMap((model) => (model.attributes["usable"] === "yes" ? [model.text] : [])) ?? [],
    uefi,
    secureBoot: uefi && values("os/loader", "secure").includes("yes"),
    loaders: capabilities.all("os/loader/value").map(({ text }) => text),
    // Older libvirt names no versions: then it is 2.0 where swtpm is.
    tpm: supported(tpm) && values("devices/tpm", "backendModel").includes("emulator") && (versions.length === 0 || versions.includes("2.0")),
  };
}

const supported = (node: XmlNode | undefined): boolean => node?.attributes["supported"] === "yes";
const names = (nodes: readonly XmlNode[] | undefined): string[] => nodes?.flatMap(({ attributes }) => attributes["name"] ?? []) ?? [];
