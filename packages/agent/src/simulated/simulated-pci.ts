/** PCI devices of a simulated host, as sysfs shows them: GPUs, with mediated devices that come and go as they are written, and cards. */
import { mdevRoot } from "../mediated-devices.ts";
import { pciRoot } from "../pci-facts.ts";
import type { SimulatedFiles } from "./simulated-files.ts";

export interface SimulatedPciDevice {
  readonly address: string;
  readonly vendor?: string;
  readonly product?: string;
  /** Six digits; absent: a GPU. */
  readonly class?: string;
  /** Absent: the host has no IOMMU in use. */
  readonly iommuGroup?: number;
  readonly numaCell?: number;
  readonly bootDisplay?: boolean;
  readonly physicalFunction?: string;
  readonly virtualFunctions?: number;
  /** Mediated types by name, and how many of each the GPU takes; only one type at a time, as vGPUs are. */
  readonly mediatedTypes?: Readonly<Record<string, number>>;
}

/** GA102GL [A10] */
export const simulatedGpu = (n: number, given: Partial<SimulatedPciDevice> = {}): SimulatedPciDevice => ({
  address: `0000:4${n}:00.0`,
  iommuGroup: 40 + n,
  numaCell: 0,
  ...given,
});

export function plugIn(files: SimulatedFiles, devices: readonly SimulatedPciDevice[]): void {
  files.put(
    "/usr/share/misc/pci.ids",
    "# a comment\n10de  NVIDIA Corporation\n\t2235  GA102GL [A40]\n\t2236  GA102GL [A10]\n\t\t10de 1482  A10\n11ab  Other\n\t2236  Wrong\n",
  );
  for (const device of devices) {
    const path = `${pciRoot}/${device.address}`;
    files.put(`${path}/vendor`, `0x${device.vendor ?? "10de"}\n`);
    files.put(`${path}/device`, `0x${device.product ?? "2236"}\n`);
    files.put(`${path}/class`, `0x${device.class ?? "030200"}\n`);
    files.put(`${path}/numa_node`, `${device.numaCell ?? -1}\n`);
    files.put(`${path}/sriov_numvfs`, `${device.virtualFunctions ?? 0}\n`);
    if (device.bootDisplay === true) files.put(`${path}/boot_vga`, "1\n");
    if (device.iommuGroup !== undefined) files.links.set(`${path}/iommu_group`, `../../../kernel/iommu_groups/${device.iommuGroup}`);
    if (device.physicalFunction !== undefined) files.links.set(`${path}/physfn`, `../${device.physicalFunction}`);
    if (device.mediatedTypes !== undefined) mediate(files, path, device.mediatedTypes);
  }
}

function mediate(files: SimulatedFiles, device: string, types: Readonly<Record<string, number>>): void {
  const made = new Map<string, string>();
  const folder = (type: string): string => `${device}/mdev_supported_types/${type}`;
  const tell = (): void => {
    const [present] = made.values();
    for (const [type, most] of Object.entries(types))
      files.put(`${folder(type)}/available_instances`, `${present === undefined || present === type ? most - made.size : 0}\n`);
  };
  for (const [type, most] of Object.entries(types)) {
    files.put(`${folder(type)}/name`, `GRID ${type}\n`);
    files.put(`${folder(type)}/description`, `num_heads=4, framebuffer=${24_576 / most}M, max_instance=${most}\n`);
    files.put(`${folder(type)}/create`, "");
    files.written.set(`${folder(type)}/create`, (uuid) => {
      if (files.text(`${folder(type)}/available_instances`)?.trim() === "0") throw new Error("ENOSPC: no space left on device");
      made.set(uuid, type);
      files.put(`${folder(type)}/devices/${uuid}/here`, "");
      files.put(`${mdevRoot}/${uuid}/remove`, "");
      files.written.set(`${mdevRoot}/${uuid}/remove`, () => {
        made.delete(uuid);
        void files.remove(`${folder(type)}/devices/${uuid}`);
        void files.remove(`${mdevRoot}/${uuid}`);
        tell();
      });
      tell();
    });
  }
  tell();
}
