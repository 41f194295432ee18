/** What sysfs says of one PCI device (Linux, Documentation/ABI/testing/sysfs-bus-pci). */
import type { HostPciDevice } from "@sheaf/model";
import type { Files } from "./ports.ts";

export const pciRoot = "/sys/bus/pci/devices";

/** A device with what decides about it. */
export interface PciFacts extends HostPciDevice {
  /** Virtual functions that are switched on. */
  readonly virtualFunctions: number;
  readonly bootDisplay: boolean;
}

export async function readFacts(files: Files, address: string): Promise<PciFacts> {
  const path = `${pciRoot}/${address}`;
  const text = async (file: string): Promise<string> => ((await files.readText(`${path}/${file}`).catch(() => null)) ?? "").trim();
  const identifier = async (file: string): Promise<string> => (await text(file)).replace(/^0x/, "");
  const last = async (link: string): Promise<string | undefined> => (await files.readLink(`${path}/${link}`).catch(() => null))?.split("/").at(-1);
  const driver = await last("driver");
  const group = Number((await last("iommu_group")) ?? Number.NaN);
  const cell = await readNumber(files, `${path}/numa_node`);
  const physicalFunction = await last("physfn");
  return {
    address,
    vendor: await identifier("vendor"),
    product: await identifier("device"),
    class: await identifier("class"),
    ...(driver === undefined ? {} : { driver }),
    ...(Number.isInteger(group) ? { iommuGroup: group } : {}),
    // -1: the firmware does not say.
    ...(cell === undefined || cell < 0 ? {} : { numaCell: cell }),
    ...(physicalFunction === undefined ? {} : { physicalFunction }),
    virtualFunctions: (await readNumber(files, `${path}/sriov_numvfs`)) ?? 0,
    bootDisplay: (await text("boot_vga")) === "1",
  };
}

/** @returns `undefined` where there is no such file, or no number in it */
export async function readNumber(files: Files, path: string): Promise<number | undefined> {
  const text = (await files.readText(path).catch(() => null))?.trim() ?? "";
  return /^-?\d+$/.test(text) ? Number(text) : undefined;
}
