/** libvirt's XML of a domain, running or not, as a description. Understands what Sheaf writes, and enough of others' to adopt them. */
import type {
  BootOrder,
  CdromDescription,
  CpuDescription,
  DeviceAddress,
  DiskDescription,
  DomainDescription,
  FirmwareDescription,
  MachineMetadata,
  NicDescription,
} from "./domain-description.ts";
import { limitsOfIoTune } from "./disk-limits.ts";
import { foreignParts } from "./foreign-parts.ts";
import { parseHostDevices } from "./host-device-elements.ts";
import { parseBinding } from "./host-binding.ts";
import { metadataNamespace } from "./render-domain.ts";
import { type XmlNode, readXml, wholeNumber } from "./xml-reader.ts";

/** @throws SheafError `internal` where the text is no domain's XML */
export function parseDomain(xml: string): DomainDescription {
  const domain = readXml(xml, "domain");
  const vcpus = domain.number("vcpu") ?? 1;
  const bytes = amount(domain.find("memory")) ?? 0;
  const maximumBytes = amount(domain.find("maxMemory"));
  const log = domain.find("devices/serial/log")?.attributes["file"];
  const emulator = domain.textOf("devices/emulator");
  const id = wholeNumber(domain.attributes["id"]);
  const serialPath = domain.attribute("devices/serial/source", "path") ?? domain.attribute("devices/console", "tty");
  const vncSocket = vncSocketOf(domain);
  const machine = parseMachine(domain);
  const storage = domain.all("devices/disk");
  const binding = parseBinding(domain);
  return {
    type: domain.attributes["type"] ?? "",
    name: domain.textOf("name") ?? "",
    uuid: domain.textOf("uuid") ?? "",
    machine,
    memory: {
      bytes,
      // Until the guest's balloon works, an emulated machine has two pages more: emulated-memory.ts.
      currentBytes: Math.min(amount(domain.find("currentMemory")) ?? bytes, bytes),
      ...(maximumBytes === undefined ? {} : { maximumBytes }),
      hugepages: domain.find("memoryBacking/hugepages") !== undefined,
      modules: domain.all("devices/memory").length,
    },
    vcpus: { current: wholeNumber(domain.attribute("vcpu", "current")) ?? vcpus, maximum: vcpus },
    cpu: parseCpu(domain, vcpus),
    tune: parseTune(domain),
    machineType: domain.attribute("os/type", "machine") ?? "",
    firmware: parseFirmware(domain),
    tpm: parseTpm(domain),
    boot: machine?.boot ?? parseBoot(domain),
    disks: storage.filter(isDisk).map(parseDisk),
    cdroms: storage.filter((disk) => disk.attributes["device"] === "cdrom").map(parseCdrom),
    nics: domain.all("devices/interface").filter(isBridged).map(parseNic),
    hostDevices: parseHostDevices(domain),
    ...(log === undefined ? {} : { serialLog: log }),
    graphics: domain.all("devices/graphics").some((graphics) => graphics.attributes["type"] === "vnc") ? "vnc" : "none",
    guestAgent: agentChannels(domain).length > 0,
    ...(emulator === undefined ? {} : { emulator }),
    ...(binding === undefined ? {} : { binding }),
    ...(id === undefined || id < 0 ? {} : { id }),
    ...(serialPath === undefined ? {} : { serialPath }),
    ...(vncSocket === undefined ? {} : { vncSocket }),
    ...(isVncOnNetwork(domain) ? { vncOnNetwork: true } : {}),
    foreign: foreignParts(domain, machine !== null),
  };
}

/** Disks Sheaf can describe: files. */
const isDisk = (disk: XmlNode): boolean => (disk.attributes["device"] ?? "disk") === "disk" && disk.attributes["type"] === "file";
const isBridged = (nic: XmlNode): boolean => nic.attributes["type"] === "bridge";

const units: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  KB: 1e3,
  k: 1024,
  KiB: 1024,
  MB: 1e6,
  M: 2 ** 20,
  MiB: 2 ** 20,
  GB: 1e9,
  G: 2 ** 30,
  GiB: 2 ** 30,
  TB: 1e12,
  T: 2 ** 40,
  TiB: 2 ** 40,
};

/** @param xml of the running domain. @returns whether libvirt has seen the guest open the channel of its agent */
export const guestChannelOpen = (xml: string): boolean =>
  agentChannels(readXml(xml, "domain")).some((channel) => channel.attribute("target", "state") === "connected");

const agentChannels = (domain: XmlNode): XmlNode[] =>
  domain.all("devices/channel").filter((channel) => channel.attribute("target", "name") === "org.qemu.guest_agent.0");

/** A memory amount in bytes; libvirt's default unit is KiB. */
export function amount(node: XmlNode | undefined): number | undefined {
  const value = wholeNumber(node?.text);
  const unit = node?.attributes["unit"] ?? "KiB";
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  return value === undefined || factor === undefined ? undefined : value * factor;
}

/** libvirt keeps the prefix, but any prefix of the namespace is ours. */
function parseMachine(domain: XmlNode): MachineMetadata | null {
  for (const node of domain.find("metadata")?.children ?? []) {
    const colon = node.name.indexOf(":");
    const declaration = colon === -1 ? "xmlns" : `xmlns:${node.name.slice(0, colon)}`;
    if (node.attributes[declaration] !== metadataNamespace || node.name.slice(colon + 1) !== "machine") continue;
    const { id, epoch, incarnation, generation, cpu, boot } = node.attributes;
    if (id === undefined || incarnation === undefined) continue;
    return {
      id,
      incarnation,
      epoch: wholeNumber(epoch) ?? 0,
      generation: wholeNumber(generation) ?? 0,
      cpu: cpu ?? "",
      boot: bootKinds(boot?.split(" ") ?? []),
    };
  }
  return null;
}

/** Devices' own order where there is one, else `<boot dev>`, libvirt's older form. */
function parseBoot(domain: XmlNode): BootOrder {
  const ordered: { readonly order: number; readonly kind: string }[] = [];
  for (const device of [...domain.all("devices/disk"), ...domain.all("devices/interface")]) {
    const order = wholeNumber(device.attribute("boot", "order"));
    const kind = device.name === "interface" ? "network" : (device.attributes["device"] ?? "disk");
    if (order !== undefined) ordered.push({ order, kind });
  }
  if (ordered.length > 0) return bootKinds(ordered.sort((a, b) => a.order - b.order).map(({ kind }) => kind));
  return bootKinds(domain.all("os/boot").map(({ attributes }) => (attributes["dev"] === "hd" ? "disk" : (attributes["dev"] ?? ""))));
}

const bootKinds = (kinds: readonly string[]): BootOrder =>
  [...new Set(kinds)].filter((kind): kind is BootOrder[number] => kind === "disk" || kind === "cdrom" || kind === "network");

function parseCpu(domain: XmlNode, vcpus: number): CpuDescription {
  const cpu = domain.find("cpu");
  const given = cpu?.attributes["mode"];
  const mode = given === "host-passthrough" || given === "host-model" || given === "maximum" ? given : "custom";
  const model = cpu?.textOf("model");
  const figure = (name: string): number | undefined => wholeNumber(cpu?.attribute("topology", name));
  const [sockets, dies, cores, threads] = [figure("sockets"), figure("dies") ?? 1, figure("cores"), figure("threads")];
  const topology =
    sockets === undefined || cores === undefined || threads === undefined
      ? // QEMU's own choice without a topology: a socket each.
        { sockets: vcpus, cores: 1, threads: 1 }
      : { sockets: sockets * dies, cores, threads };
  return { mode, ...(mode === "custom" && model !== undefined ? { model } : {}), topology };
}

function parseTune(domain: XmlNode): DomainDescription["tune"] {
  const shares = domain.number("cputune/shares");
  const quotaUs = domain.number("cputune/global_quota");
  return {
    ...(shares === undefined ? {} : { shares }),
    ...(quotaUs === undefined || quotaUs <= 0 ? {} : { quotaUs, periodUs: domain.number("cputune/global_period") ?? 100_000 }),
  };
}

function parseFirmware(domain: XmlNode): FirmwareDescription {
  const os = domain.find("os");
  const loader = os?.find("loader");
  const chosen = os?.attributes["firmware"] === "efi";
  if (!chosen && loader?.attributes["type"] !== "pflash") return { type: "bios", secureBoot: false };
  const secureFeature = os?.all("firmware/feature").some(({ attributes }) => attributes["name"] === "secure-boot" && attributes["enabled"] === "yes");
  const variables = os?.find("nvram");
  const template = variables?.attributes["template"];
  const code = loader?.text;
  return {
    type: "uefi",
    secureBoot: loader?.attributes["secure"] === "yes" || secureFeature === true,
    ...(code === undefined || code === "" || template === undefined ? {} : { code, variablesTemplate: template }),
    ...(variables === undefined || variables.text === "" ? {} : { variables: variables.text }),
  };
}

function parseTpm(domain: XmlNode): DomainDescription["tpm"] {
  const tpm = domain.find("devices/tpm");
  if (tpm?.attribute("backend", "type") !== "emulator") return null;
  return tpm.attributes["model"] === "tpm-crb" ? "tpm-crb" : "tpm-tis";
}

function parseDisk(disk: XmlNode): DiskDescription {
  const tune: Record<string, number> = {};
  for (const child of disk.find("iotune")?.children ?? []) tune[child.name] = wholeNumber(child.text) ?? 0;
  const serial = disk.textOf("serial");
  return {
    target: disk.attribute("target", "dev") ?? "",
    bus: oneOf(disk.attribute("target", "bus"), ["virtio", "scsi", "sata"], "virtio"),
    path: disk.attribute("source", "file") ?? "",
    format: disk.attribute("driver", "type") ?? "raw",
    // Absent, `default`: QEMU's writeback.
    cache: oneOf(disk.attribute("driver", "cache"), ["none", "writeback", "writethrough", "directsync", "unsafe"], "writeback"),
    io: oneOf(disk.attribute("driver", "io"), ["threads", "native", "io_uring"], "threads"),
    discard: disk.attribute("driver", "discard") === "unmap",
    readOnly: disk.find("readonly") !== undefined,
    ...(serial === undefined || serial === "" ? {} : { serial }),
    limits: limitsOfIoTune(tune),
    ...parseCommon(disk),
  };
}

function parseCdrom(cdrom: XmlNode): CdromDescription {
  return {
    target: cdrom.attribute("target", "dev") ?? "",
    bus: oneOf(cdrom.attribute("target", "bus"), ["sata", "scsi"], "sata"),
    path: cdrom.attribute("source", "file") ?? null,
    ...parseCommon(cdrom),
  };
}

function parseNic(nic: XmlNode): NicDescription {
  const tapName = nic.attribute("target", "dev");
  const mtu = wholeNumber(nic.attribute("mtu", "size"));
  return {
    mac: nic.attribute("mac", "address") ?? "",
    bridge: nic.attribute("source", "bridge") ?? "",
    ...(tapName === undefined ? {} : { tapName }),
    model: oneOf(nic.attribute("model", "type"), ["virtio", "e1000e", "e1000", "rtl8139"], "virtio"),
    queues: wholeNumber(nic.attribute("driver", "queues")) ?? 1,
    connected: nic.attribute("link", "state") !== "down",
    ...(mtu === undefined ? {} : { mtu }),
    ...parseCommon(nic),
  };
}

function parseCommon(device: XmlNode): { readonly alias?: string; readonly bootOrder?: number; readonly address?: DeviceAddress } {
  const alias = device.attribute("alias", "name");
  const bootOrder = wholeNumber(device.attribute("boot", "order"));
  const address = parseAddress(device.find("address"));
  return {
    ...(alias === undefined ? {} : { alias }),
    ...(bootOrder === undefined ? {} : { bootOrder }),
    ...(address === undefined ? {} : { address }),
  };
}

function parseAddress(node: XmlNode | undefined): DeviceAddress | undefined {
  // libvirt writes PCI figures in hexadecimal and drive figures in decimal; Number reads both.
  const figure = (name: string): number => Number(node?.attributes[name] ?? 0);
  switch (node?.attributes["type"]) {
    case "pci":
      return { type: "pci", domain: figure("domain"), bus: figure("bus"), slot: figure("slot"), function: figure("function") };
    case "drive":
      return { type: "drive", controller: figure("controller"), bus: figure("bus"), target: figure("target"), unit: figure("unit") };
    default:
      return undefined;
  }
}

/** Where the VNC server of a running domain listens, when on a unix socket. */
function vncSocketOf(domain: XmlNode): string | undefined {
  const graphics = domain.all("devices/graphics").find((node) => node.attributes["type"] === "vnc");
  const listen = graphics?.all("listen").find((node) => node.attributes["type"] === "socket");
  return listen?.attributes["socket"] ?? graphics?.attributes["socket"];
}

function isVncOnNetwork(domain: XmlNode): boolean {
  const graphics = domain.all("devices/graphics").find((node) => node.attributes["type"] === "vnc");
  return (
    graphics !== undefined &&
    graphics.attributes["socket"] === undefined &&
    !graphics.all("listen").some((node) => node.attributes["type"] === "socket")
  );
}

function oneOf<T extends string>(text: string | undefined, known: readonly T[], otherwise: T): T {
  return known.find((value) => value === text) ?? otherwise;
}
