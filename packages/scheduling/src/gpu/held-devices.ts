/** What of which hosts a machine has for itself: by its placement, and by a decision whose record is not here yet. Used by SnapshotIndex alone. */
import type { PlacedDevices, PlacedGpu, Placement } from "@sheaf/model";

const none: ReadonlyMap<number, PlacedDevices> = new Map();

export function heldDevices(
  placement: Placement | undefined,
  reservation: { readonly host: string; readonly devices: PlacedDevices } | undefined,
  slotOf: (host: string) => number,
): ReadonlyMap<number, PlacedDevices> {
  const parts: { readonly host: string; readonly devices: PlacedDevices }[] = [];
  if (placement !== undefined) parts.push({ host: placement.host, devices: placement });
  if (reservation !== undefined) parts.push(reservation);
  let held: Map<number, PlacedDevices> | undefined;
  for (const { host, devices } of parts) {
    const { gpus = [], pciDevices = [] } = devices;
    if (gpus.length + pciDevices.length === 0) continue;
    held ??= new Map();
    const before = held.get(slotOf(host));
    // A decision for the host that it is on may be about devices that it has.
    const both = <T extends PlacedGpu>(had: readonly T[], more: readonly T[]): T[] => [
      ...new Map([...had, ...more].map((one) => [`${one.address} ${one.slice?.place ?? ""}`, one])).values(),
    ];
    held.set(slotOf(host), { gpus: both(before?.gpus ?? [], gpus), pciDevices: both<PlacedGpu>(before?.pciDevices ?? [], pciDevices) });
  }
  return held ?? none;
}
