/** Disks, CD drives and NICs as XML: inside a domain, and alone to attach, detach or update them while it runs. */
import type { CdromDescription, DeviceAddress, DiskDescription, NicDescription } from "./domain-description.ts";
import { ioTune } from "./disk-limits.ts";
import { type XmlElement, element, writeXml } from "./xml-writer.ts";

export const renderDisk = (disk: DiskDescription): string => writeXml(diskElement(disk));
export const renderCdrom = (cdrom: CdromDescription): string => writeXml(cdromElement(cdrom));
export const renderNic = (nic: NicDescription): string => writeXml(nicElement(nic));

export function diskElement(disk: DiskDescription): XmlElement {
  const set = Object.entries(ioTune(disk.limits)).filter(([, value]) => value > 0);
  // Rates, then bursts, then their lengths, as libvirt writes them: libxml2 finds any other order invalid by the schema.
  const tune = [/_sec$/, /_max$/, /_length$/].flatMap((ending) => set.filter(([name]) => ending.test(name)));
  return element(
    "disk",
    { type: "file", device: "disk" },
    element("driver", { name: "qemu", type: disk.format, cache: disk.cache, io: disk.io, discard: disk.discard ? "unmap" : "ignore" }),
    element("source", { file: disk.path }),
    element("target", { dev: disk.target, bus: disk.bus }),
    tune.length === 0 ? undefined : element("iotune", {}, ...tune.map(([name, value]) => element(name, {}, value))),
    disk.readOnly ? element("readonly") : undefined,
    disk.serial === undefined ? undefined : element("serial", {}, disk.serial),
    ...common(disk),
  );
}

export function cdromElement(cdrom: CdromDescription): XmlElement {
  return element(
    "disk",
    { type: "file", device: "cdrom" },
    element("driver", { name: "qemu", type: "raw" }),
    cdrom.path === null ? undefined : element("source", { file: cdrom.path }),
    element("target", { dev: cdrom.target, bus: cdrom.bus }),
    element("readonly"),
    ...common(cdrom),
  );
}

export function nicElement(nic: NicDescription): XmlElement {
  return element(
    "interface",
    { type: "bridge" },
    element("mac", { address: nic.mac }),
    element("source", { bridge: nic.bridge }),
    nic.tapName === undefined ? undefined : element("target", { dev: nic.tapName }),
    element("model", { type: nic.model }),
    nic.queues > 1 ? element("driver", { queues: nic.queues }) : undefined,
    element("link", { state: nic.connected ? "up" : "down" }),
    nic.mtu === undefined ? undefined : element("mtu", { size: nic.mtu }),
    // The boot ROM costs a second of every start; it is there for those that boot from the network.
    nic.bootOrder === undefined ? element("rom", { enabled: "no" }) : undefined,
    ...common(nic),
  );
}

function common(device: { readonly alias?: string; readonly bootOrder?: number; readonly address?: DeviceAddress }): (XmlElement | undefined)[] {
  return [
    device.bootOrder === undefined ? undefined : element("boot", { order: device.bootOrder }),
    device.alias === undefined ? undefined : element("alias", { name: device.alias }),
    device.address === undefined ? undefined : addressElement(device.address),
  ];
}

const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, "0")}`;

function addressElement(address: DeviceAddress): XmlElement {
  switch (address.type) {
    case "pci":
      return element("address", {
        type: "pci",
        domain: hex(address.domain, 4),
        bus: hex(address.bus, 2),
        slot: hex(address.slot, 2),
        function: hex(address.function, 1),
      });
    case "drive":
      return element("address", { type: "drive", controller: address.controller, bus: address.bus, target: address.target, unit: address.unit });
  }
}
