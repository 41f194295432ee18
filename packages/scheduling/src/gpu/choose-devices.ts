/**
 * Which devices of one host a machine gets: (what the host hands out, what is taken, the wishes) → the devices, or none where they do not
 * suffice. Pure. Whatever it returns is free in `taken`; that nothing is given twice rests on this.
 */
import { type HostGpuSlices, type PlacedDevices, type PlacedGpu, type PlacedPciDevice, type VmGpus, type VmPciDevice } from "@sheaf/model";
import { type GpuUnit, type HostDeviceList, isWishedPci, type PciUnit, servesSlice, servesWhole } from "./host-device-list.ts";

/** Devices by address: taken as a whole, or slices of one type at some places. */
export class TakenDevices {
  readonly #whole = new Set<string>();
  readonly #slices = new Map<string, { readonly type: string; readonly byPlace: Map<string, number> }>();

  add({ gpus = [], pciDevices = [] }: PlacedDevices): void {
    for (const device of pciDevices) this.#addWhole(device);
    for (const gpu of gpus) {
      const { address, slice } = gpu;
      if (slice === undefined) {
        this.#addWhole(gpu);
        continue;
      }
      const known = this.#slices.get(address);
      const at = known ?? { type: slice.type, byPlace: new Map<string, number>() };
      if (known === undefined) this.#slices.set(address, at);
      at.byPlace.set(slice.place, (at.byPlace.get(slice.place) ?? 0) + 1);
    }
  }

  #addWhole({ address, functions = [] }: PlacedPciDevice): void {
    for (const each of [address, ...functions]) this.#whole.add(each);
  }

  /** With all that goes with it. */
  isFree({ address, functions }: { readonly address: string; readonly functions: readonly string[] }): boolean {
    return !this.#slices.has(address) && !this.#whole.has(address) && functions.every((each) => !this.#whole.has(each));
  }

  isWhole(address: string): boolean {
    return this.#whole.has(address);
  }

  /** The only type of which it has slices still. */
  typeOn(address: string): string | undefined {
    return this.#slices.get(address)?.type;
  }

  /** Slices of this type that are left on the GPU; none where it is taken otherwise. */
  left(address: string, slices: HostGpuSlices): number {
    const free = slices.places.reduce((sum, place) => sum + this.#leftAt(address, slices.type, place), 0);
    let used = 0;
    for (const count of this.#slices.get(address)?.byPlace.values() ?? []) used += count;
    // There may be more places for them than the GPU has room for.
    return Math.max(0, Math.min(free, Math.floor(1000 / slices.milli) - used));
  }

  /** Where the next slice is made. */
  place(address: string, slices: HostGpuSlices): string | undefined {
    return slices.places.find((place) => this.#leftAt(address, slices.type, place) > 0)?.address;
  }

  #leftAt(address: string, type: string, place: { readonly address: string; readonly count: number }): number {
    if (this.#whole.has(address)) return 0;
    const on = this.#slices.get(address);
    if (on === undefined) return place.count;
    return on.type === type ? Math.max(0, place.count - (on.byPlace.get(place.address) ?? 0)) : 0;
  }
}

export interface Wishes {
  readonly gpus?: VmGpus;
  readonly pciDevices?: readonly VmPciDevice[];
}

/** @returns `undefined` where something is lacking */
export function chooseDevices(list: HostDeviceList, taken: TakenDevices, wishes: Wishes): PlacedDevices | undefined {
  const gpus = wishes.gpus === undefined ? [] : chooseGpus(list.gpus, taken, wishes.gpus);
  const pciDevices = choosePciDevices(list.pci, taken, wishes.pciDevices ?? []);
  if (gpus === undefined || pciDevices === undefined) return undefined;
  return { ...(gpus.length === 0 ? {} : { gpus }), ...(pciDevices.length === 0 ? {} : { pciDevices }) };
}

function chooseGpus(units: readonly GpuUnit[], taken: TakenDevices, wish: VmGpus): PlacedGpu[] | undefined {
  if (wish.shareMilli !== undefined) {
    const slice = chooseSlice(units, taken, wish);
    return slice && [slice];
  }
  const free = units.filter((unit) => servesWhole(unit, wish) && taken.isFree(unit));
  if (free.length < wish.count) return undefined;
  // GPUs that cannot be divided first: what can be serves more wishes.
  const order = (a: GpuUnit, b: GpuUnit): number => Number(a.slices.length > 0) - Number(b.slices.length > 0) || compareText(a.address, b.address);
  return nearEachOther(free.toSorted(order), wish.count).map(({ address, model, functions }) => ({ address, model, ...withFunctions(functions) }));
}

/** All from the NUMA cell with the fewest that suffice, so that a larger set stays; where none has enough, the fewest cells. */
function nearEachOther(free: readonly GpuUnit[], count: number): readonly GpuUnit[] {
  const cells = [...Map.groupBy(free, ({ numaCell }) => numaCell ?? -1).values()].toSorted((a, b) => a.length - b.length);
  const enough = cells.find((cell) => cell.length >= count);
  return (enough ?? cells.toReversed().flat()).slice(0, count);
}

function chooseSlice(units: readonly GpuUnit[], taken: TakenDevices, wish: VmGpus): PlacedGpu | undefined {
  let best: { readonly unit: GpuUnit; readonly slices: HostGpuSlices; readonly rank: readonly number[] } | undefined;
  for (const unit of units) {
    for (const slices of unit.slices) {
      const left = servesSlice(unit, slices, wish) ? taken.left(unit.address, slices) : 0;
      if (left === 0) continue;
      // A GPU that is divided already before one that is whole; the smallest slice; the fewest left; one that cannot go as a whole anyway.
      const rank = [Number(taken.isFree(unit)), slices.milli, Number(unit.whole), left];
      if (best === undefined || isLess(rank, best.rank)) best = { unit, slices, rank };
    }
  }
  const place = best && taken.place(best.unit.address, best.slices);
  if (best === undefined || place === undefined) return undefined;
  const { unit, slices } = best;
  return { address: unit.address, model: unit.model, slice: { kind: slices.kind, type: slices.type, place, milli: slices.milli } };
}

/** Wishes with the fewest candidates choose first. */
function choosePciDevices(units: readonly PciUnit[], taken: TakenDevices, wishes: readonly VmPciDevice[]): PlacedPciDevice[] | undefined {
  const chosen: PlacedPciDevice[] = [];
  const used = new Set<string>();
  const free = units.filter((unit) => unit.refusal === undefined && taken.isFree(unit)).toSorted((a, b) => compareText(a.address, b.address));
  const each = wishes.map((wish) => ({ wish, candidates: free.filter((unit) => isWishedPci(unit, wish)) }));
  for (const { wish, candidates } of each.toSorted((a, b) => a.candidates.length - b.candidates.length)) {
    let missing = wish.count;
    for (const { address, label, functions } of candidates) {
      if (missing === 0) break;
      if ([address, ...functions].some((each) => used.has(each))) continue;
      for (const each of [address, ...functions]) used.add(each);
      chosen.push({ address, ...(label === undefined ? {} : { label }), ...withFunctions(functions) });
      missing -= 1;
    }
    if (missing > 0) return undefined;
  }
  return chosen;
}

const withFunctions = (functions: readonly string[]) => (functions.length === 0 ? {} : { functions: [...functions] });

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, place) => value !== b[place]);
  return at !== -1 && (a[at] ?? 0) < (b[at] ?? 0);
}
