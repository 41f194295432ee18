/** Which hosts cannot give a machine the devices that it wishes for, and why: they have none such, cannot hand them out, or have none free. */
import { formatBytes } from "@sheaf/base";
import { gpuWishWords, pciWishWords, type VmGpus, type VmPciDevice, wholeGpuMilli } from "@sheaf/model";
import { type HostFilter, hostFilter, type HostMask } from "../host-filter.ts";
import type { PlacementRequest } from "../placement-request.ts";
import { chargesOf, type SnapshotIndex } from "../snapshot.ts";
import type { Wishes } from "./choose-devices.ts";
import type { DeviceLedger } from "./device-ledger.ts";
import { type GpuUnit, isWishedGpu, isWishedPci, servesInSomeWay, servesWhole } from "./host-device-list.ts";

export function deviceFilters(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): HostFilter[] {
  const wishing = requests.filter((request) => request.gpus !== undefined || request.pciDevices !== undefined);
  if (wishing.length === 0) return [];
  const { devices } = snapshot;
  const own = new Set(chargesOf(requests, snapshot));
  const ownSlots = new Set([...own].flatMap((charge) => charge.slots));
  const cannot = (wishes: readonly Wishes[], slot: number): boolean => devices.choose(slot, wishes, own) === undefined;
  const filters: HostFilter[] = [];
  const wishedGpus = wishing.flatMap(({ gpus }) => gpus ?? []);
  const abilities = wishedGpus.map((gpus) => new GpuAbility(gpus, devices));
  for (const ability of abilities) filters.push(...unableFilters(ability, devices));
  const [only] = wishedGpus;
  if (only !== undefined) {
    const fits = snapshot.gpus.fits(only);
    const wishes = wishedGpus.map((gpus) => ({ gpus }));
    // One machine's wish is answered by columns; where it has some already, or several share a host, devices are counted out.
    const counted = (slot: number): boolean => wishes.length > 1 || (ownSlots.size > 0 && ownSlots.has(slot));
    const isAble = (slot: number): boolean => abilities.every((ability) => ability.of(slot) === able);
    const fails = (slot: number): boolean => isAble(slot) && (counted(slot) ? cannot(wishes, slot) : !fits(slot));
    const { idleGpus } = devices;
    const least = only.count * ((only.shareMilli ?? wholeGpuMilli) / wholeGpuMilli) - 0.001;
    // Those that are not able are marked by now. Most of a full site is told by one column.
    const refuse = (mask: HostMask, mark: number): void => {
      for (let slot = 0; slot < mask.length; slot += 1) {
        if (mask[slot] !== 0) continue;
        if (counted(slot) ? cannot(wishes, slot) : (idleGpus[slot] ?? 0) < least || !fits(slot)) mask[slot] = mark;
      }
    };
    filters.push({ ...freeWords(wishedGpus, snapshot), fails, refuse });
  }
  for (const { pciDevices = [] } of wishing) for (const wish of pciDevices) filters.push(...pciFilters(wish, snapshot));
  if (wishing.some(({ pciDevices }) => pciDevices !== undefined)) {
    const words = "free PCI devices for all that it asks for";
    const wishes = wishing.map(wishesOf);
    filters.push(hostFilter({ code: "pci", own: false, one: `lacks ${words}`, many: `lack ${words}` }, (slot) => cannot(wishes, slot)));
  }
  return filters;
}

export const wishesOf = ({ gpus, pciDevices }: PlacementRequest): Wishes => ({
  ...(gpus === undefined ? {} : { gpus }),
  ...(pciDevices === undefined ? {} : { pciDevices }),
});

/** What no release of devices would change. */
const [unknown, none, kept, able] = [0, 1, 2, 3];

/** Answered once for each kind of hosts. */
class GpuAbility {
  readonly gpus: VmGpus;
  readonly #devices: DeviceLedger;
  readonly #byShape: Uint8Array;

  constructor(gpus: VmGpus, devices: DeviceLedger) {
    this.gpus = gpus;
    this.#devices = devices;
    this.#byShape = new Uint8Array(devices.shapes + 1);
    this.#byShape[0] = none;
  }

  of(slot: number): number {
    const shape = this.#devices.gpuShape[slot] ?? 0;
    const known = this.#byShape[shape] ?? unknown;
    return known === unknown ? (this.#byShape[shape] = abilityOf(this.#devices.list(slot)?.gpus ?? [], this.gpus)) : known;
  }
}

function unableFilters(ability: GpuAbility, devices: DeviceLedger): HostFilter[] {
  const { gpus } = ability;
  const what = gpuWishWords({ ...gpus, count: 1 }, formatBytes);
  const detail = (slot: number): string => {
    const units = devices.list(slot)?.gpus.filter((unit) => isWishedGpu(unit, gpus)) ?? [];
    return [...new Set(units.map((unit) => `${unit.address}: ${whyNot(unit, gpus)}`))].join("; ");
  };
  return [
    hostFilter({ code: "gpu-none", own: false, one: `has no ${what}`, many: `have no ${what}` }, (slot) => ability.of(slot) === none),
    hostFilter(
      { code: "gpu-kept", own: false, one: `cannot hand out a ${what}`, many: `cannot hand out a ${what}`, detail },
      (slot) => ability.of(slot) === kept,
    ),
  ];
}

function abilityOf(units: readonly GpuUnit[], gpus: VmGpus): number {
  const wished = units.filter((unit) => isWishedGpu(unit, gpus));
  if (wished.length === 0) return none;
  return wished.some((unit) => servesInSomeWay(unit, gpus)) ? able : kept;
}

function whyNot(unit: GpuUnit, { shareMilli }: VmGpus): string {
  if (unit.refusal !== undefined) return unit.refusal;
  if (shareMilli === undefined) return "only slices of it are handed out";
  return unit.slices.length === 0 ? "its driver makes no slices of it" : "its slices are smaller";
}

function freeWords(wishes: readonly VmGpus[], { devices }: SnapshotIndex) {
  const [first] = wishes;
  if (first === undefined || wishes.length > 1) {
    const words = "free GPUs for all of them";
    return { code: "gpu", own: false, one: `lacks ${words}`, many: `lack ${words}` };
  }
  const what = gpuWishWords(first, formatBytes);
  if (first.count === 1) return { code: "gpu", own: false, one: `lacks a free ${what}`, many: `lack a free ${what}` };
  const free = (slot: number): number => {
    const taken = devices.taken(slot);
    return devices.list(slot)?.gpus.filter((unit) => servesWhole(unit, first) && taken.isFree(unit)).length ?? 0;
  };
  const figure = { of: free, text: String, needed: String(first.count) };
  return { code: "gpu", own: false, one: `lacks ${first.count} free ${what}`, many: `lack ${first.count} free ${what}`, figure };
}

function pciFilters(wish: VmPciDevice, { devices }: SnapshotIndex): HostFilter[] {
  const what = `PCI device ${pciWishWords(wish)}`;
  const wished = (slot: number) => devices.list(slot)?.pci.filter((unit) => isWishedPci(unit, wish)) ?? [];
  const isKept = (slot: number): boolean => {
    const units = wished(slot);
    return units.length > 0 && units.every(({ refusal }) => refusal !== undefined);
  };
  const detail = (slot: number): string =>
    wished(slot)
      .map(({ address, refusal }) => `${address}: ${refusal ?? ""}`)
      .join("; ");
  const code = pciWishWords(wish);
  return [
    hostFilter({ code: `pci-none:${code}`, own: false, one: `offers no ${what}`, many: `offer no ${what}` }, (slot) => wished(slot).length === 0),
    hostFilter({ code: `pci-kept:${code}`, own: false, one: `cannot hand out its ${what}`, many: `cannot hand out their ${what}`, detail }, isKept),
  ];
}
