/** A host's GPUs and offered PCI devices with who has them: by the scheduler's own list, and the placements that name them. Called by the routes. */
import type { HandedOut } from "@sheaf/contract";
import { type PlacedDevices, type RecordOf } from "@sheaf/model";
import type { SnapshotIndex } from "@sheaf/scheduling";

type Holders = HandedOut["gpus"][number]["holders"];

export function devicesOfHost(host: RecordOf<"host">, vms: Iterable<RecordOf<"vm">>, snapshot: SnapshotIndex): HandedOut {
  const { gpus, pci, idleMilli } = snapshot.devicesOf(host.id);
  const holders = new Map<string, Holders>();
  for (const { id, name, placement } of vms) {
    if (placement?.host !== host.id) continue;
    const { gpus: itsGpus = [], pciDevices = [] }: PlacedDevices = placement;
    for (const { address, slice } of itsGpus) note(holders, address, { vm: id, name, ...(slice === undefined ? {} : { milli: slice.milli }) });
    for (const { address } of pciDevices) note(holders, address, { vm: id, name });
  }
  return {
    gpus: gpus.map(({ address, model, memoryBytes, numaCell, whole, slices, refusal }) => ({
      address,
      model,
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(numaCell === undefined ? {} : { numaCell }),
      whole,
      slices: [...slices],
      ...(refusal === undefined ? {} : { refusal }),
      idleMilli: idleMilli.get(address) ?? 0,
      holders: holders.get(address) ?? [],
    })),
    pciDevices: pci.map(({ address, vendor, product, class: kind, label, refusal }) => ({
      ...{ address, vendor, product, class: kind },
      ...(label === undefined ? {} : { label }),
      ...(refusal === undefined ? {} : { refusal }),
      holders: holders.get(address) ?? [],
    })),
  };
}

function note(holders: Map<string, Holders>, address: string, holder: Holders[number]): void {
  const known = holders.get(address);
  if (known === undefined) holders.set(address, [holder]);
  else known.push(holder);
}
