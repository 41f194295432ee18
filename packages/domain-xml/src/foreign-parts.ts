/** What a domain has that Sheaf would lose by rewriting it: said to the person who adopts it. Empty for domains that Sheaf wrote. */
import { isEmulatedMemory } from "./emulated-memory.ts";
import { isOwnHostDevice } from "./host-device-elements.ts";
import type { XmlNode } from "./xml-reader.ts";

/** Devices that Sheaf renders, or that libvirt adds to every PC. */
const knownDevices: ReadonlySet<string> = new Set([
  "emulator", "disk", "controller", "interface", "serial", "console", "channel", "input", "tpm", "graphics", "video", "memballoon", "rng", "panic", "memory",
  "audio", "watchdog",
]); // prettier-ignore

const names: Readonly<Record<string, string>> = {
  hostdev: "passed-through host device",
  filesystem: "shared directory",
  sound: "sound card",
  redirdev: "redirected USB device",
  vsock: "vsock device",
  shmem: "shared memory device",
  iommu: "virtual IOMMU",
  parallel: "parallel port",
  smartcard: "smart card reader",
  hub: "USB hub",
};

const diskParts: readonly (readonly [child: string, what: string])[] = [
  ["shareable", "sharing with other machines"],
  ["transient", "transience"],
  ["encryption", "encryption"],
  ["source/encryption", "encryption"],
  ["source/slices", "slice"],
  ["blockio", "block size"],
];
const interfaceParts: readonly (readonly [child: string, what: string])[] = [
  ["vlan", "VLAN"],
  ["virtualport", "virtual port"],
  ["filterref", "packet filter"],
  ["bandwidth", "bandwidth limits"],
];
const settings: readonly (readonly [path: string, what: string])[] = [
  ["iothreads", "I/O threads"],
  ["blkiotune", "block I/O weights"],
  ["memtune", "memory limits"],
  ["memoryBacking/locked", "locked memory"],
  ["memoryBacking/access", "shared memory backing"],
  ["sysinfo", "SMBIOS data"],
  ["launchSecurity", "memory encryption"],
  ["cpu/numa/cell/distances", "NUMA distances"],
];

/** @param ours it carries Sheaf's mark: Sheaf has bound it itself */
export function foreignParts(domain: XmlNode, ours: boolean): string[] {
  const parts: string[] = [];
  for (const device of domain.find("devices")?.children ?? []) {
    const { name, attributes } = device;
    if (isOwnHostDevice(device)) continue;
    if (!knownDevices.has(name)) parts.push(names[name] ?? name);
    else if (name === "disk") {
      const kind = attributes["device"] ?? "disk";
      const target = device.attribute("target", "dev") ?? "?";
      const bus = device.attribute("target", "bus") ?? "";
      if (kind !== "disk" && kind !== "cdrom") parts.push(`${kind} ${target}`);
      else if (attributes["type"] !== "file") parts.push(`${kind} ${target} of type ${attributes["type"] ?? "?"}`);
      else if (!["virtio", "scsi", "sata"].includes(bus) || (kind === "cdrom" && bus === "virtio")) parts.push(`${kind} ${target} on bus ${bus}`);
      for (const [child, what] of diskParts) if (device.find(child) !== undefined) parts.push(`${what} of ${kind} ${target}`);
      if (device.attribute("driver", "iothread") !== undefined) parts.push(`I/O thread of ${kind} ${target}`);
    } else if (name === "interface") {
      const mac = device.attribute("mac", "address") ?? "?";
      if (attributes["type"] !== "bridge") parts.push(`network interface ${mac} of type ${attributes["type"] ?? "?"}`);
      for (const [child, what] of interfaceParts) if (device.find(child) !== undefined) parts.push(`${what} of network interface ${mac}`);
    } else if (name === "graphics" && attributes["type"] !== "vnc") parts.push(`${attributes["type"] ?? "?"} graphics`);
    else if (name === "graphics" && attributes["passwd"] !== undefined) parts.push("VNC password");
  }
  for (const [path, what] of settings) if (domain.find(path) !== undefined) parts.push(what);
  // In a running domain's XML libvirt adds what the model became.
  if (domain.attributes["id"] === undefined && domain.find("cpu/feature") !== undefined) parts.push("CPU features");
  const clock = domain.find("clock")?.attributes["offset"];
  if (clock !== undefined && clock !== "utc") parts.push(`clock offset ${clock}`);
  if (domain.find("os/kernel") !== undefined) parts.push("direct kernel boot");
  if (domain.all("devices/tpm").some((tpm) => tpm.attribute("backend", "type") !== "emulator")) parts.push("TPM of the host");
  if (!ours && domain.find("cputune/vcpupin") !== undefined) parts.push("CPU pinning");
  if (!ours && domain.find("numatune") !== undefined) parts.push("NUMA binding");
  if (domain.find("features/hyperv") !== undefined) parts.push("Hyper-V enlightenments");
  if (domain.children.some((child) => child.name.startsWith("qemu:") && !isEmulatedMemory(child))) parts.push("QEMU command line arguments");
  return parts;
}
