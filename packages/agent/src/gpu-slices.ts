/**
 * In what slices the drivers of this host hand out a GPU: mediated devices (vGPU, GVT-g, the vGPU types of MIG), made at the GPU or at its
 * virtual functions, and virtual functions by themselves. Only what is switched on now counts: Sheaf makes the instances, not the division.
 */
import type { HostGpuSlices } from "@sheaf/model";
import { pciRoot, type PciFacts, readNumber } from "./pci-facts.ts";
import type { Files } from "./ports.ts";

export interface Slices {
  readonly slices: HostGpuSlices[];
  /** Why the whole of it is not to be had, where somebody else uses it. */
  readonly foreign: string | undefined;
}

interface TypeAt {
  readonly address: string;
  readonly name: string | undefined;
  /** Instances that the GPU takes in all; absent: its driver does not say. */
  readonly most: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly available: number;
  readonly instances: readonly string[];
}

/** @param functions its virtual functions @param ours UUIDs of Sheaf's machines here */
export async function readSlices(files: Files, gpu: PciFacts, functions: readonly PciFacts[], ours: ReadonlySet<string>): Promise<Slices> {
  const types = new Map<string, TypeAt[]>();
  for (const { address } of [gpu, ...functions]) {
    for (const type of await files.list(`${pciRoot}/${address}/mdev_supported_types`).catch(() => [])) {
      const at = await readType(files, address, type);
      types.set(type, [...(types.get(type) ?? []), at]);
    }
  }
  if (types.size === 0) return { slices: functionSlices(functions), foreign: undefined };
  const strangers = [...types].flatMap(([type, places]) =>
    places.flatMap(({ instances }) => instances.filter((uuid) => !ours.has(uuid)).map((uuid) => ({ type, uuid }))),
  );
  const [stranger] = strangers;
  const slices: HostGpuSlices[] = [];
  for (const [type, places] of types) {
    // Beside others' slices there are only more of their type.
    if (strangers.some((other) => other.type !== type)) continue;
    const made = slicesOf(type, places, ours);
    if (made !== undefined) slices.push(made);
  }
  const foreign = stranger === undefined ? undefined : `a mediated device that Sheaf did not make is on it (${stranger.uuid}): remove it first`;
  return { slices: slices.toSorted((a, b) => b.milli - a.milli || (a.type < b.type ? -1 : 1)), foreign };
}

function slicesOf(type: string, places: readonly TypeAt[], ours: ReadonlySet<string>): HostGpuSlices | undefined {
  const counted = places.map(({ address, available, instances }) => ({
    address,
    // What Sheaf's machines have is counted by their records.
    count: available + instances.filter((uuid) => ours.has(uuid)).length,
  }));
  const [first] = places;
  const there = counted.reduce((sum, { count }) => sum + count, 0);
  const others = places.reduce((sum, { instances }) => sum + instances.filter((uuid) => !ours.has(uuid)).length, 0);
  const most = first?.most ?? there + others;
  // None can be made now, and the driver does not say how many there could be: told again when it can.
  if (first === undefined || most === 0 || (there === 0 && others > 0)) return undefined;
  const { name, memoryBytes } = first;
  // While the GPU is divided otherwise drivers say that none is left; it will be, and until then nobody is given one.
  const offered = there === 0 ? places.map(({ address }) => ({ address, count: places.length > 1 ? 1 : most })) : counted;
  return {
    kind: "mdev",
    type,
    ...(name === undefined ? {} : { name }),
    milli: Math.max(1, Math.floor(1000 / most)),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    places: offered,
  };
}

async function readType(files: Files, address: string, type: string): Promise<TypeAt> {
  const path = `${pciRoot}/${address}/mdev_supported_types/${type}`;
  const text = async (file: string): Promise<string> => ((await files.readText(`${path}/${file}`).catch(() => null)) ?? "").trim();
  const description = await text("description");
  const number = (pattern: RegExp): number | undefined => {
    const found = pattern.exec(description)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  // NVIDIA's words; others say neither.
  const memoryMib = number(/framebuffer=(\d+)M/);
  const name = await text("name");
  return {
    address,
    name: name === "" ? undefined : name,
    most: number(/max_instance=(\d+)/),
    memoryBytes: memoryMib === undefined ? undefined : memoryMib * 2 ** 20,
    available: (await readNumber(files, `${path}/available_instances`)) ?? 0,
    instances: await files.list(`${path}/devices`).catch(() => []),
  };
}

/** Virtual functions are handed out as they are: as many equal slices. */
function functionSlices(functions: readonly PciFacts[]): HostGpuSlices[] {
  const places = functions.filter(({ iommuGroup }) => iommuGroup !== undefined).map(({ address }) => ({ address, count: 1 }));
  return places.length === 0 ? [] : [{ kind: "vf", type: "vf", milli: Math.max(1, Math.floor(1000 / functions.length)), places }];
}
