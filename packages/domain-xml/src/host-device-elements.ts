/**
 * Devices of the host that a domain has for itself: PCI devices by vfio, and mediated devices. libvirt takes a PCI device from its driver when
 * the domain starts and gives it back afterwards (managed); a mediated device must be there by then. They are the domain's from its start to
 * its end: none is plugged in or out while it runs.
 */
import type { DomainDescription, HostDevice } from "./domain-description.ts";
import type { XmlNode } from "./xml-reader.ts";
import { type XmlElement, element } from "./xml-writer.ts";

const aliasPrefix = "ua-hostdev-";

/** `0000:41:00.0`; anything else is a defect of the caller. */
function pciParts(address: string): readonly [domain: string, bus: string, slot: string, fn: string] {
  const found = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(address);
  if (found === null) throw new RangeError(`${address} is no PCI address`);
  const [, domain = "", bus = "", slot = "", fn = ""] = found;
  return [domain, bus, slot, fn];
}

export function hostDeviceElement(device: HostDevice): XmlElement {
  const alias = element("alias", { name: `${aliasPrefix}${nameOf(device).replaceAll(/[:.]/g, "-")}` });
  if (device.kind === "mdev") {
    const source = element("source", {}, element("address", { uuid: device.uuid }));
    return element("hostdev", { mode: "subsystem", type: "mdev", managed: "no", model: "vfio-pci" }, source, alias);
  }
  const [domain, bus, slot, fn] = pciParts(device.address);
  const address = element("address", { domain: `0x${domain}`, bus: `0x${bus}`, slot: `0x${slot}`, function: `0x${fn}` });
  return element(
    "hostdev",
    { mode: "subsystem", type: "pci", managed: "yes" },
    element("driver", { name: "vfio" }),
    element("source", {}, address),
    alias,
  );
}

/** Sheaf's own ones: others' are foreign parts. */
export const isOwnHostDevice = (node: XmlNode): boolean =>
  node.name === "hostdev" && node.attribute("alias", "name")?.startsWith(aliasPrefix) === true;

export function parseHostDevices(domain: XmlNode): HostDevice[] {
  return domain
    .all("devices/hostdev")
    .filter(isOwnHostDevice)
    .flatMap((node): HostDevice[] => {
      const uuid = node.attribute("source/address", "uuid");
      if (node.attributes["type"] === "mdev") return uuid === undefined ? [] : [{ kind: "mdev", uuid }];
      const part = (name: string, digits: number): string =>
        Number(node.attribute("source/address", name) ?? 0)
          .toString(16)
          .padStart(digits, "0");
      return [{ kind: "pci", address: `${part("domain", 4)}:${part("bus", 2)}:${part("slot", 2)}.${part("function", 1)}` }];
    });
}

/** Sentences about what waits for the next start. */
export function compareHostDevices(now: DomainDescription, then: DomainDescription): string[] {
  const sentences: string[] = [];
  const lacks = (of: DomainDescription, device: HostDevice): boolean => !of.hostDevices.some((other) => nameOf(other) === nameOf(device));
  for (const device of now.hostDevices) if (lacks(then, device)) sentences.push(`${words(device)} is removed at the next start`);
  for (const device of then.hostDevices) if (lacks(now, device)) sentences.push(`${words(device)} is added at the next start`);
  return sentences;
}

const nameOf = (device: HostDevice): string => (device.kind === "pci" ? device.address : device.uuid);
const words = (device: HostDevice): string => (device.kind === "pci" ? `the host's device ${device.address}` : `the mediated device ${device.uuid}`);
