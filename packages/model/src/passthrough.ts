/**
 * Devices of a host that machines get for themselves: GPUs, whole or as a slice, and other PCI devices. What a machine wishes for (in its
 * spec), what a host has to hand out (in its agent's report), and which ones a machine was given (in its placement).
 */
import { z } from "zod";
import { Bytes, Name } from "./fields.ts";

/** `domain:bus:slot.function`, as Linux writes it. */
export const PciAddress = z.string().regex(/^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/, "must be a PCI address in small letters: 0000:41:00.0");

const PciId = z.string().regex(/^[0-9a-f]{4}$/, "must be four hexadecimal digits in small letters");

/** As hosts call it (`A10`), or vendor and product as numbers (`10de:2236`). Compared without regard to case. */
export const GpuModel = z
  .string()
  .max(64)
  .regex(/^[A-Za-z0-9]([A-Za-z0-9 ._/+:()-]*[A-Za-z0-9)])?$/, "must be letters, digits, inner spaces and . _ / + : ( ) -");

/** A whole GPU; shares are counted in thousandths. */
export const wholeGpuMilli = 1000;

export const VmGpus = z
  .strictObject({
    /** Different GPUs of one host. */
    count: z.int().min(1).max(16).default(1),
    /** Instead of whole GPUs one slice, of at least so many thousandths of a GPU. Hosts hand out the slices that their drivers make, nothing between. */
    shareMilli: z
      .int()
      .min(1)
      .max(wholeGpuMilli - 1)
      .optional(),
    /** Any of these; empty: any. */
    models: z.array(GpuModel).max(8).default([]),
    /** Of each GPU, or of the slice. */
    minimumMemoryBytes: Bytes.min(1).optional(),
  })
  .refine((gpus) => gpus.shareMilli === undefined || gpus.count === 1, {
    path: ["count"],
    message: "must be 1 with a share: a machine gets one slice",
  });
export type VmGpus = z.infer<typeof VmGpus>;

/** Devices that are no GPUs, of those that the host's operators offer (`passthrough`): by the label they gave, by what they are, or both. */
export const VmPciDevice = z
  .strictObject({
    label: Name.optional(),
    vendor: PciId.optional(),
    product: PciId.optional(),
    /** Class and subclass: `0200` is an Ethernet controller. */
    class: PciId.optional(),
    count: z.int().min(1).max(16).default(1),
  })
  .refine(
    ({ label, vendor, class: kind }) => label !== undefined || vendor !== undefined || kind !== undefined,
    "must name a label, a vendor or a class",
  )
  .refine(({ vendor, product }) => product === undefined || vendor !== undefined, {
    path: ["product"],
    message: "needs the vendor: products are numbered by each",
  });
export type VmPciDevice = z.infer<typeof VmPciDevice>;

/** What operators say of one device of a host. GPUs that are not its own screen are offered where nothing is said; anything else is not. */
export const HostPassthrough = z
  .strictObject({
    address: PciAddress,
    offered: z.boolean().default(true),
    /** Its virtual functions (SR-IOV) are meant, not the device itself. */
    virtualFunctions: z.boolean().default(false),
    label: Name.optional(),
  })
  .refine(({ offered, label }) => offered || label === undefined, { path: ["label"], message: "needs a device that is offered" });
export type HostPassthrough = z.infer<typeof HostPassthrough>;

/** What every device of a host tells about being handed out. */
const handedOut = {
  numaCell: z.int().optional(),
  iommuGroup: z.int().optional(),
  driver: z.string().optional(),
  /** Other functions of the same card in its IOMMU group (a GPU's sound): they go where it goes. */
  functions: z.array(z.string()).optional(),
  /** Whether it can be handed out as a whole; absent: the agent does not know about that. */
  whole: z.boolean().optional(),
  /** Why not, and what would help. */
  refusal: z.string().optional(),
};

export const HostPciDevice = z.looseObject({
  address: z.string(),
  vendor: z.string(),
  product: z.string(),
  class: z.string(),
  ...handedOut,
  /** It is a virtual function of this device. */
  physicalFunction: z.string().optional(),
});
export type HostPciDevice = z.infer<typeof HostPciDevice>;

/** Slices of one type that a GPU can be handed out in. While there is one on it, there are only more of the same type. */
export const HostGpuSlices = z.looseObject({
  /** `mdev`: a mediated device, made when it is needed · `vf`: a virtual function that is there. */
  kind: z.enum(["mdev", "vf"]),
  /** As the driver calls it: `nvidia-63`, `i915-GVTg_V5_4`; `vf` for virtual functions. */
  type: z.string(),
  name: z.string().optional(),
  /** Thousandths of the GPU. */
  milli: z.int().min(1).max(wholeGpuMilli),
  memoryBytes: Bytes.optional(),
  /** PCI devices where slices are made, and how many at each; a virtual function is itself one. */
  places: z.array(z.looseObject({ address: z.string(), count: z.int().min(0) })),
});
export type HostGpuSlices = z.infer<typeof HostGpuSlices>;

export const HostGpu = z.looseObject({
  address: z.string(),
  vendor: z.string(),
  product: z.string(),
  /** `A10`; absent: the host has no list of names, and it is called by its numbers. */
  model: z.string().optional(),
  memoryBytes: Bytes.optional(),
  ...handedOut,
  /** The host's firmware shows its screen there. */
  bootDisplay: z.boolean().optional(),
  slices: z.array(HostGpuSlices).optional(),
});
export type HostGpu = z.infer<typeof HostGpu>;

/** A GPU that a machine has: the whole of it, or one slice. */
export const PlacedGpu = z.looseObject({
  address: z.string(),
  model: z.string().optional(),
  /** What goes with the whole of it. */
  functions: z.array(z.string()).optional(),
  slice: z
    .looseObject({
      kind: z.enum(["mdev", "vf"]),
      type: z.string(),
      /** Where it is made; for `vf` the virtual function itself. */
      place: z.string(),
      milli: z.int(),
    })
    .optional(),
});
export type PlacedGpu = z.infer<typeof PlacedGpu>;

export const PlacedPciDevice = z.looseObject({ address: z.string(), label: z.string().optional(), functions: z.array(z.string()).optional() });
export type PlacedPciDevice = z.infer<typeof PlacedPciDevice>;

/** What of its host a machine has for itself. */
export interface PlacedDevices {
  readonly gpus?: readonly PlacedGpu[] | undefined;
  readonly pciDevices?: readonly PlacedPciDevice[] | undefined;
}

/** As they stand in a placement record. */
export const placedDevices = ({ gpus, pciDevices }: PlacedDevices = {}): { gpus?: PlacedGpu[]; pciDevices?: PlacedPciDevice[] } => ({
  ...(gpus === undefined ? {} : { gpus: [...gpus] }),
  ...(pciDevices === undefined ? {} : { pciDevices: [...pciDevices] }),
});

export interface DeviceWishes {
  readonly gpus?: VmGpus | undefined;
  readonly pciDevices?: readonly VmPciDevice[] | undefined;
}

/** It holds a piece of its host: it can be moved while it is down, and not while it runs. */
export const wishesForDevices = ({ gpus, pciDevices }: DeviceWishes): boolean => gpus !== undefined || (pciDevices?.length ?? 0) > 0;

/** The name that people know a GPU by. */
export const gpuModelOf = ({ model, vendor, product }: Pick<HostGpu, "model" | "vendor" | "product">): string => model ?? `${vendor}:${product}`;

/** Whether a wish for these models is one for this GPU. */
export function isGpuOfModel(gpu: Pick<HostGpu, "model" | "vendor" | "product">, models: readonly string[]): boolean {
  if (models.length === 0) return true;
  const names = [gpuModelOf(gpu).toLowerCase(), `${gpu.vendor}:${gpu.product}`];
  return models.some((model) => names.includes(model.toLowerCase()));
}

const shareWords = (milli: number): string => `${milli}/1000 of a GPU`;

/** `0000:41:00.0 (A10)`, `250/1000 of 0000:41:00.0 (A10, nvidia-63)` */
export function placedGpuWords({ address, model, slice }: PlacedGpu): string {
  const notes = [model, slice?.kind === "mdev" ? slice.type : slice?.place].filter((note) => note !== undefined);
  const words = notes.length === 0 ? address : `${address} (${notes.join(", ")})`;
  return slice === undefined ? words : `${slice.milli}/1000 of ${words}`;
}

/** `2 GPUs of model A10 or L4 with at least 24 GiB` without its number. @param bytes formats memory */
export function gpuWishWords({ shareMilli, models, minimumMemoryBytes, count }: VmGpus, bytes: (value: number) => string): string {
  const which = models.length === 0 ? "" : ` of model ${models.join(" or ")}`;
  const memory = minimumMemoryBytes === undefined ? "" : ` with at least ${bytes(minimumMemoryBytes)}`;
  if (shareMilli !== undefined) return `slice of at least ${shareWords(shareMilli)}${which}${memory}`;
  return `${count === 1 ? "GPU" : "GPUs"}${which}${memory}`;
}

/** `label fast-nic`, `8086:1572`, `class 0200` */
export function pciWishWords({ label, vendor, product, class: kind }: VmPciDevice): string {
  const id = vendor === undefined ? undefined : product === undefined ? `of vendor ${vendor}` : `${vendor}:${product}`;
  return [label === undefined ? undefined : `labelled ${label}`, id, kind === undefined ? undefined : `of class ${kind}`]
    .filter((part) => part !== undefined)
    .join(" ");
}

/** `GPU 0000:41:00.0 (A10) and PCI device 0000:05:00.0` */
export function devicesWords({ gpus = [], pciDevices = [] }: PlacedDevices): string {
  const words = [
    ...gpus.map((gpu) => (gpu.slice === undefined ? `GPU ${placedGpuWords(gpu)}` : placedGpuWords(gpu))),
    ...pciDevices.map(({ address, label }) => `PCI device ${address}${label === undefined ? "" : ` (${label})`}`),
  ];
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1) ?? ""}`;
}
