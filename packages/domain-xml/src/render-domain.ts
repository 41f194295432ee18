/**
 * A domain's description as libvirt's XML (https://libvirt.org/formatdomain.html). The agent defines what comes out of here and
 * nothing else. Written for libvirt 9.0 and QEMU 7.2, and for what came later.
 */
import { describeDomain } from "./describe-domain.ts";
import type { DomainDescription, FirmwareDescription, MachineMetadata } from "./domain-description.ts";
import type { DomainInput } from "./domain-input.ts";
import { emulatedMemoryElement, qemuNamespace } from "./emulated-memory.ts";
import { hostDeviceElement } from "./host-device-elements.ts";
import { guestCellElements, hugepagesElement, numatuneElement, pinElements, unbound } from "./host-binding.ts";
import { cdromElement, diskElement, nicElement } from "./render-devices.ts";
import { type XmlElement, element, writeXml } from "./xml-writer.ts";

export const metadataNamespace = "urn:sheaf:1";

/** @param previous see describeDomain */
export function renderDomain(input: DomainInput, previous?: DomainDescription): string {
  return renderDescription(describeDomain(input, previous));
}

export function renderDescription(domain: DomainDescription): string {
  const emulatedMemory = emulatedMemoryElement(domain);
  return writeXml(
    element(
      "domain",
      { type: domain.type, "xmlns:qemu": emulatedMemory && qemuNamespace },
      element("name", {}, domain.name),
      element("uuid", {}, domain.uuid),
      domain.machine === null ? undefined : element("metadata", {}, metadataElement(domain.machine)),
      ...memoryElements(domain),
      element("vcpu", { placement: "static", current: domain.vcpus.current }, domain.vcpus.maximum),
      ...tuneElements(domain),
      domain.binding === undefined ? undefined : numatuneElement(domain.binding),
      osElement(domain),
      element(
        "features",
        {},
        element("acpi"),
        element("apic"),
        domain.firmware.secureBoot ? element("smm", { state: "on" }) : undefined,
        // Without a limit the cache of emulated code takes up to 1 GiB a machine.
        domain.type === "qemu" ? element("tcg", {}, element("tb-cache", { unit: "MiB" }, 32)) : undefined,
      ),
      cpuElement(domain),
      clockElement(domain),
      element("on_poweroff", {}, "destroy"),
      element("on_reboot", {}, "restart"),
      element("on_crash", {}, "destroy"),
      element("pm", {}, element("suspend-to-mem", { enabled: "no" }), element("suspend-to-disk", { enabled: "no" })),
      devicesElement(domain),
      emulatedMemory,
    ),
  );
}

/** For virDomainSetMetadata with `metadataKey` and `metadataNamespace`: libvirt adds the prefix itself. */
export const renderMetadata = (machine: MachineMetadata): string => writeXml(element("machine", machineAttributes(machine)));
export const metadataKey = "sheaf";

const metadataElement = (machine: MachineMetadata): XmlElement =>
  element(`${metadataKey}:machine`, { [`xmlns:${metadataKey}`]: metadataNamespace, ...machineAttributes(machine) });

function machineAttributes({ id, epoch, incarnation, generation, cpu, boot }: MachineMetadata): Record<string, string | number> {
  return { id, epoch, incarnation, generation, cpu, boot: boot.join(" ") };
}

const kib = (bytes: number): number => Math.floor(bytes / 1024);

/** Slots for modules that are plugged in live: `memory.maximumBytes`. */
const memorySlots = 16;

function memoryElements({ memory, binding = unbound }: DomainDescription): (XmlElement | undefined)[] {
  return [
    memory.maximumBytes === undefined ? undefined : element("maxMemory", { slots: memorySlots, unit: "KiB" }, kib(memory.maximumBytes)),
    element("memory", { unit: "KiB" }, kib(memory.bytes)),
    element("currentMemory", { unit: "KiB" }, kib(memory.currentBytes)),
    memory.hugepages ? element("memoryBacking", {}, hugepagesElement(binding)) : undefined,
  ];
}

function tuneElements({ tune, binding = unbound }: DomainDescription): XmlElement[] {
  const children = [
    tune.shares === undefined ? undefined : element("shares", {}, tune.shares),
    tune.quotaUs === undefined ? undefined : element("global_period", {}, tune.periodUs),
    tune.quotaUs === undefined ? undefined : element("global_quota", {}, tune.quotaUs),
    ...pinElements(binding),
  ];
  return children.some((child) => child !== undefined) ? [element("cputune", {}, ...children)] : [];
}

function osElement(domain: DomainDescription): XmlElement {
  const { firmware } = domain;
  const type = element("type", { arch: "x86_64", machine: domain.machineType }, "hvm");
  if (firmware.type === "bios") return element("os", {}, type);
  if (firmware.code !== undefined) {
    const secure = firmware.secureBoot ? "yes" : "no";
    return element("os", {}, type, element("loader", { readonly: "yes", secure, type: "pflash" }, firmware.code), nvramElement(firmware));
  }
  const state = firmware.secureBoot ? "yes" : "no";
  const features = ["enrolled-keys", "secure-boot"].map((name) => element("feature", { enabled: state, name }));
  return element("os", { firmware: "efi" }, type, element("firmware", {}, ...features), nvramElement(firmware));
}

const nvramElement = (firmware: FirmwareDescription): XmlElement | undefined =>
  firmware.variables === undefined ? undefined : element("nvram", { template: firmware.variablesTemplate }, firmware.variables);

function cpuElement({ cpu, memory, vcpus, binding = unbound }: DomainDescription): XmlElement {
  const { sockets, cores, threads } = cpu.topology;
  // Memory modules need a NUMA node to belong to.
  const cell = element("cell", { id: 0, cpus: vcpus.maximum === 1 ? "0" : `0-${vcpus.maximum - 1}`, memory: kib(memory.bytes), unit: "KiB" });
  const cells = binding.guestCells.length > 0 ? guestCellElements(binding) : memory.maximumBytes === undefined ? [] : [cell];
  return element(
    "cpu",
    { mode: cpu.mode, match: cpu.mode === "custom" ? "exact" : undefined },
    cpu.model === undefined ? undefined : element("model", { fallback: "forbid" }, cpu.model),
    element("topology", { sockets, dies: 1, cores, threads }),
    cells.length === 0 ? undefined : element("numa", {}, ...cells),
  );
}

/** Accelerated guests get the timers that Linux and Windows keep time best with; emulated ones keep QEMU's. */
function clockElement(domain: DomainDescription): XmlElement {
  if (domain.type === "qemu") return element("clock", { offset: "utc" });
  return element(
    "clock",
    { offset: "utc" },
    element("timer", { name: "rtc", tickpolicy: "catchup" }),
    element("timer", { name: "pit", tickpolicy: "delay" }),
    element("timer", { name: "hpet", present: "no" }),
  );
}

/** PCI Express ports left free for devices that are plugged in live; and the least number in all. */
const spareRootPorts = 8;
const leastRootPorts = 12;

function devicesElement(domain: DomainDescription): XmlElement {
  const graphics = domain.graphics === "vnc";
  return element(
    "devices",
    {},
    domain.emulator === undefined ? undefined : element("emulator", {}, domain.emulator),
    ...domain.disks.map(diskElement),
    ...domain.cdroms.map(cdromElement),
    ...rootPorts(domain),
    // Always there, so that SCSI disks can be plugged in live.
    element("controller", { type: "scsi", index: 0, model: "virtio-scsi" }),
    element("controller", { type: "virtio-serial", index: 0 }),
    graphics ? element("controller", { type: "usb", index: 0, model: "qemu-xhci" }) : element("controller", { type: "usb", index: 0, model: "none" }),
    ...domain.nics.map(nicElement),
    ...domain.hostDevices.map(hostDeviceElement),
    element(
      "serial",
      { type: "pty" },
      domain.serialLog === undefined ? undefined : element("log", { file: domain.serialLog, append: "on" }),
      element("target", { type: "isa-serial", port: 0 }),
    ),
    element("console", { type: "pty" }, element("target", { type: "serial", port: 0 })),
    domain.guestAgent ? element("channel", { type: "unix" }, element("target", { type: "virtio", name: "org.qemu.guest_agent.0" })) : undefined,
    // An absolute pointer: without it the mouse of a VNC viewer drifts away.
    graphics ? element("input", { type: "tablet", bus: "usb" }) : undefined,
    domain.tpm === null ? undefined : element("tpm", { model: domain.tpm }, element("backend", { type: "emulator", version: "2.0" })),
    // A unix socket that libvirt places; VNC never listens on a network.
    graphics ? element("graphics", { type: "vnc" }, element("listen", { type: "socket" })) : undefined,
    element("video", {}, graphics ? element("model", { type: "vga", vram: 16_384 }) : element("model", { type: "none" })),
    element("memballoon", { model: "virtio" }, element("stats", { period: 10 })),
    element("rng", { model: "virtio" }, element("backend", { model: "random" }, "/dev/urandom")),
    element("panic", { model: "isa" }),
  );
}

function rootPorts(domain: DomainDescription): XmlElement[] {
  if (domain.machineType !== "q35" && !domain.machineType.startsWith("pc-q35")) return [];
  // SCSI controller, serial controller, balloon, random numbers, USB; a controller for each further six SATA devices.
  const fixed = 4 + (domain.graphics === "vnc" ? 1 : 0);
  const sata = [...domain.disks, ...domain.cdroms].filter((device) => device.bus === "sata").length;
  const cold =
    fixed +
    domain.nics.length +
    domain.hostDevices.length +
    domain.disks.filter((disk) => disk.bus === "virtio").length +
    Math.max(0, Math.ceil(sata / 6) - 1);
  const highest = Math.max(0, ...[...domain.disks, ...domain.nics].map(({ address }) => (address?.type === "pci" ? address.bus : 0)));
  const count = Math.max(leastRootPorts, cold + spareRootPorts, highest);
  const ports = Array.from({ length: count }, (_, index) => element("controller", { type: "pci", index: index + 1, model: "pcie-root-port" }));
  return [element("controller", { type: "pci", index: 0, model: "pcie-root" }), ...ports];
}
