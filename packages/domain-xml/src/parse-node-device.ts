/** A device of the host, as libvirt's node device driver tells it. */
import { readXml, wholeNumber } from "./xml-reader.ts";

export interface PciDevice {
  /** libvirt's name: `pci_0000_01_00_0`. */
  readonly name: string;
  /** `0000:01:00.0` */
  readonly address: string;
  /** Names, or the identifiers (`0x10de`) where the host's list has none. */
  readonly vendor: string;
  readonly product: string;
  readonly vendorId: string;
  readonly productId: string;
  /** Six hexadecimal digits: `0x030000` is a VGA controller. */
  readonly class: string;
  readonly driver?: string;
  readonly iommuGroup?: number;
  readonly numaNode?: number;
}

/** @returns `null` for a device that is no PCI device @throws SheafError `internal` where the text is something else */
export function parseNodeDevice(xml: string): PciDevice | null {
  const device = readXml(xml, "device");
  const pci = device.all("capability").find(({ attributes }) => attributes["type"] === "pci");
  if (pci === undefined) return null;
  const hex = (name: string, digits: number): string => (pci.number(name) ?? 0).toString(16).padStart(digits, "0");
  const [vendorId, productId] = [pci.attribute("vendor", "id") ?? "", pci.attribute("product", "id") ?? ""];
  const driver = device.textOf("driver/name");
  const iommuGroup = wholeNumber(pci.attribute("iommuGroup", "number"));
  const numaNode = wholeNumber(pci.attribute("numa", "node"));
  return {
    name: device.textOf("name") ?? "",
    address: `${hex("domain", 4)}:${hex("bus", 2)}:${hex("slot", 2)}.${hex("function", 1)}`,
    vendor: pci.textOf("vendor") || vendorId,
    product: pci.textOf("product") || productId,
    vendorId,
    productId,
    class: pci.textOf("class") ?? "",
    ...(driver === undefined ? {} : { driver }),
    ...(iommuGroup === undefined ? {} : { iommuGroup }),
    ...(numaNode === undefined || numaNode < 0 ? {} : { numaNode }),
  };
}
