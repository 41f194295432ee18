/**
 * The PCI devices of this host, and the GPUs among them: what they are, what of them can be handed out to machines, and why the rest cannot.
 * Read from sysfs (Linux, Documentation/ABI/testing/sysfs-bus-pci, Documentation/driver-api/vfio-mediated-device.rst). Only reads; what cannot
 * be read is left out, and what is not sure to be attachable is not offered.
 */
import type { HostGpu, HostPciDevice } from "@sheaf/model";
import { readSlices } from "./gpu-slices.ts";
import { type PciFacts, pciRoot, readFacts, readNumber } from "./pci-facts.ts";
import { pciNames } from "./pci-names.ts";
import type { Files } from "./ports.ts";

const isBridge = (device: PciFacts): boolean => device.class.startsWith("06");
/** Display controllers (03) and processing accelerators (12). */
const isGpuClass = (device: PciFacts): boolean => device.class.startsWith("03") || device.class.startsWith("12");
/** `0000:41:00` of `0000:41:00.1` */
const slotOf = (address: string): string => address.slice(0, address.lastIndexOf("."));

/** @param ours UUIDs of Sheaf's machines here: mediated devices of theirs are no obstacle, others' are */
export async function readPciDevices(files: Files, ours: ReadonlySet<string>): Promise<{ pciDevices: HostPciDevice[]; gpus: HostGpu[] }> {
  const facts = await Promise.all((await files.list(pciRoot)).map((address) => readFacts(files, address)));
  const groups = Map.groupBy(facts, ({ iommuGroup }) => iommuGroup ?? -1);
  const pciDevices = facts.map((device) => ({ ...told(device), ...passing(device, groups.get(device.iommuGroup ?? -1) ?? []) }));
  const screens = facts.filter((device) => isGpuClass(device) && device.physicalFunction === undefined);
  const names = await pciNames(files, screens);
  const gpus = await Promise.all(
    screens.map(async (device): Promise<HostGpu> => {
      const { address, vendor, product, bootDisplay } = device;
      const functions = facts.filter(({ physicalFunction }) => physicalFunction === address);
      const { slices, foreign } = await readSlices(files, device, functions, ours);
      const name = names.get(`${vendor}:${product}`);
      const memoryBytes = (await readNumber(files, `${pciRoot}/${address}/mem_info_vram_total`)) ?? name?.memoryBytes;
      const { class: _class, ...rest } = pciDevices.find((one) => one.address === address) ?? { ...told(device) };
      return {
        ...rest,
        ...(name === undefined ? {} : { model: name.model }),
        ...(memoryBytes === undefined ? {} : { memoryBytes }),
        ...(bootDisplay ? { bootDisplay } : {}),
        ...(slices.length === 0 ? {} : { slices }),
        ...(foreign === undefined ? {} : { whole: false, refusal: foreign }),
      };
    }),
  );
  return { pciDevices, gpus };
}

const told = ({ virtualFunctions: _functions, bootDisplay: _display, ...device }: PciFacts): HostPciDevice => device;

/** Whether it can be handed out as a whole, with what goes along; else why not. */
function passing(device: PciFacts, group: readonly PciFacts[]): Pick<HostPciDevice, "whole" | "refusal" | "functions"> {
  const no = (refusal: string): { whole: false; refusal: string } => ({ whole: false, refusal });
  if (isBridge(device)) return no("it is a bridge");
  if (device.iommuGroup === undefined)
    return no(
      "the host has no IOMMU in use: switch on VT-d or AMD-Vi in its firmware, and intel_iommu=on on the command line of an Intel host's kernel",
    );
  if (device.virtualFunctions > 0) return no(`it is split into ${device.virtualFunctions} virtual functions`);
  const others = group.filter((other) => other.address !== device.address && !isBridge(other));
  // vfio hands out a group as a whole or not at all (Linux, Documentation/driver-api/vfio.rst).
  const stranger = others.find((other) => slotOf(other.address) !== slotOf(device.address));
  if (stranger !== undefined) return no(`its IOMMU group ${device.iommuGroup} holds ${stranger.address} too, which is another card`);
  const functions = others.map(({ address }) => address);
  return { whole: true, ...(functions.length === 0 ? {} : { functions }) };
}
