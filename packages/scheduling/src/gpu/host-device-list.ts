/**
 * What of one host's devices machines may get for themselves: its agent's report and its operators' word together. Made when the host's
 * record changes, read by the ledger and the filters. Nothing is here that could not be attached.
 */
import { gpuModelOf, isGpuOfModel, type HostGpuSlices, type HostObservation, type HostSpec, type VmGpus, type VmPciDevice } from "@sheaf/model";

export interface GpuUnit {
  readonly address: string;
  /** Equal for GPUs that can be handed out in the same ways. */
  readonly kind: string;
  readonly vendor: string;
  readonly product: string;
  /** As people know it. */
  readonly model: string;
  readonly memoryBytes: number | undefined;
  readonly numaCell: number | undefined;
  /** They go where the whole of it goes. */
  readonly functions: readonly string[];
  /** Handed out as a whole. */
  readonly whole: boolean;
  readonly slices: readonly HostGpuSlices[];
  /** Why nothing of it is handed out. */
  readonly refusal: string | undefined;
}

export interface PciUnit {
  readonly address: string;
  readonly vendor: string;
  readonly product: string;
  readonly class: string;
  readonly label: string | undefined;
  readonly functions: readonly string[];
  /** Why it is offered and yet not handed out. */
  readonly refusal: string | undefined;
}

export interface HostDeviceList {
  readonly gpus: readonly GpuUnit[];
  /** Offered by operators; never a GPU. */
  readonly pci: readonly PciUnit[];
}

/** @returns `undefined` for a host that has neither, as most have */
export function hostDeviceList(spec: HostSpec, seen: HostObservation | undefined): HostDeviceList | undefined {
  if (seen === undefined) return undefined;
  // Older records do not have it.
  const said = (spec.passthrough as HostSpec["passthrough"] | undefined) ?? [];
  const seenGpus = (seen.gpus as HostObservation["gpus"] | undefined) ?? [];
  if (seenGpus.length === 0 && said.length === 0) return undefined;
  const word = new Map(said.map((one) => [one.address, one]));
  const gpus = seenGpus.map((gpu): GpuUnit => {
    const { address, vendor, product, memoryBytes, numaCell, bootDisplay, functions = [], slices = [] } = gpu;
    const said = word.get(address);
    const kept =
      said?.offered === false ? "it is kept for the host" : bootDisplay === true && said === undefined ? "it shows the host's own screen" : undefined;
    const offered = kept === undefined;
    const whole = offered && gpu.whole === true;
    const usable = offered ? slices.filter(({ places }) => places.some(({ count }) => count > 0)) : [];
    const unknown = gpu.whole === undefined ? "its agent does not say whether it can be handed out: upgrade it" : "its agent does not say why";
    const refusal = whole || usable.length > 0 ? undefined : (kept ?? gpu.refusal ?? unknown);
    const model = gpuModelOf(gpu);
    const parts = usable.map(({ type, milli, memoryBytes: bytes }) => [type, milli, bytes]);
    const kind = JSON.stringify([vendor, product, model, memoryBytes, whole, parts]);
    return { address, kind, vendor, product, model, memoryBytes, numaCell, functions, whole, slices: usable, refusal };
  });
  const isGpus = new Set(
    seenGpus.flatMap(({ address, functions = [], slices = [] }) => [
      address,
      ...functions,
      ...slices.flatMap(({ places }) => places.map((place) => place.address)),
    ]),
  );
  const pci = seen.pciDevices.flatMap((device): PciUnit[] => {
    const { address, vendor, product, physicalFunction, functions = [] } = device;
    const own = word.get(address);
    const parent = physicalFunction === undefined ? undefined : word.get(physicalFunction);
    const offer = own?.virtualFunctions === false ? own : parent?.virtualFunctions === true ? parent : undefined;
    if (offer?.offered !== true || isGpus.has(address)) return [];
    const refusal = device.whole === true ? undefined : (device.refusal ?? "its agent does not say whether it can be handed out: upgrade it");
    return [{ address, vendor, product, class: device.class, label: offer.label, functions, refusal }];
  });
  return gpus.length === 0 && pci.length === 0 ? undefined : { gpus, pci };
}

/** Whether it is such a GPU at all, handed out or not. */
export const isWishedGpu = (unit: GpuUnit, { models, minimumMemoryBytes, shareMilli }: VmGpus): boolean =>
  isGpuOfModel(unit, models) && (shareMilli !== undefined || hasMemory(unit.memoryBytes, minimumMemoryBytes));

/** The whole of it would do. */
export const servesWhole = (unit: GpuUnit, wish: VmGpus): boolean => wish.shareMilli === undefined && unit.whole && isWishedGpu(unit, wish);

/** One slice of this type would do. */
export function servesSlice(unit: GpuUnit, { milli, memoryBytes }: HostGpuSlices, wish: VmGpus): boolean {
  if (wish.shareMilli === undefined || milli < wish.shareMilli || !isWishedGpu(unit, wish)) return false;
  // Where the driver does not say, memory is divided as the rest is.
  const memory = memoryBytes ?? (unit.memoryBytes === undefined ? undefined : Math.floor((unit.memoryBytes * milli) / 1000));
  return hasMemory(memory, wish.minimumMemoryBytes);
}

/** The whole of it, or some slice. */
export const servesInSomeWay = (unit: GpuUnit, wish: VmGpus): boolean =>
  servesWhole(unit, wish) || unit.slices.some((slices) => servesSlice(unit, slices, wish));

/** What is not known is not enough. */
const hasMemory = (bytes: number | undefined, wanted: number | undefined): boolean => wanted === undefined || (bytes ?? 0) >= wanted;

export const isWishedPci = (unit: PciUnit, { label, vendor, product, class: kind }: VmPciDevice): boolean =>
  (label === undefined || unit.label === label) &&
  (vendor === undefined || unit.vendor === vendor) &&
  (product === undefined || unit.product === product) &&
  (kind === undefined || unit.class.startsWith(kind));
