/**
 * What of its host a machine is given at its start: from the placement that names its devices, and what the host says of them now. Pure.
 * A machine that wishes for devices never starts without them.
 */
import type { HostDevice } from "@sheaf/domain-xml";
import { type HostGpu, type HostPciDevice, type PlacedGpu, type PlacedPciDevice, type RecordOf, wishesForDevices } from "@sheaf/model";

/** What the host reported of its devices last. */
export interface SeenDevices {
  readonly pciDevices: readonly HostPciDevice[];
  readonly gpus: readonly HostGpu[];
}

export type HostDeviceNeeds = { readonly devices: readonly HostDevice[] } | { readonly waiting: string } | { readonly failed: string };

/** @param seen `null` while they have not been read */
export function hostDeviceNeeds({ id, spec, placement }: RecordOf<"vm">, seen: SeenDevices | null): HostDeviceNeeds {
  if (!wishesForDevices(spec)) return { devices: [] };
  const { gpus = [], pciDevices = [] } = placement ?? {};
  const wished = (spec.pciDevices ?? []).reduce((sum, { count }) => sum + count, 0);
  if (gpus.length < (spec.gpus?.count ?? 0) || pciDevices.length < wished)
    return { failed: "its placement does not name the devices that it wishes for: move it to another host, or make it anew" };
  if (seen === null) return { waiting: "it waits for this host's devices to be looked at" };
  const devices: HostDevice[] = [];
  for (const gpu of gpus) {
    if (gpu.slice?.kind === "mdev") devices.push({ kind: "mdev", uuid: id });
    else {
      const problem = give(gpu.slice === undefined ? gpu : { address: gpu.slice.place }, seen, devices);
      if (problem !== null) return { failed: problem };
    }
  }
  for (const device of pciDevices) {
    const problem = give(device, seen, devices);
    if (problem !== null) return { failed: problem };
  }
  return { devices };
}

/** @returns why the host cannot give it; else `null`, and it is among `devices` with all that goes along */
function give({ address, functions = [] }: PlacedGpu | PlacedPciDevice, seen: SeenDevices, devices: HostDevice[]): string | null {
  const device = seen.pciDevices.find((one) => one.address === address);
  if (device === undefined) return `this host has no device ${address} any more: look whether it is seated and switched on`;
  if (device.whole !== true) return `the device ${address} of this host cannot be handed out: ${device.refusal ?? "it does not say why"}`;
  for (const each of [address, ...functions]) devices.push({ kind: "pci", address: each });
  return null;
}
