/**
 * From a machine's document to what its domain is made of: every reference looked up among this host's documents, or the reason why
 * that is not possible yet. Called at every look at a machine. Starts what is missing (the fetch of a CD's image), never waits for it.
 */
import type { DomainHost, DomainInput, HostBinding, HostDevice } from "@sheaf/domain-xml";
import { tapDeviceName } from "@sheaf/domain-xml";
import { clusterCpuModel, type NumaPlacement, type RecordOf } from "@sheaf/model";
import { cellBinding, takenCpus } from "./cell-binding.ts";
import { hostDeviceNeeds, type SeenDevices } from "./host-device-needs.ts";
import { imagePath, nvramPath, seedPath, volumePath } from "./host-paths.ts";
import type { KeptState } from "./kept-state.ts";
import type { Needs } from "./plan-machine.ts";

type Vm = RecordOf<"vm">;

export interface MachineInputOptions {
  readonly kept: KeptState;
  readonly hostId: string;
  /** What this host is, for rendering; `null` while the hypervisor has not told. */
  readonly host: () => Pick<DomainHost, "accelerated" | "cgroupVersion" | "cells"> | null;
  /** What this host's devices are; `null` while they have not been read. */
  readonly devices: () => SeenDevices | null;
  readonly volumeState: (
    volumeId: string,
  ) => { readonly state: "creating" | "ready" | "failed" | "gone"; readonly problem?: string | undefined } | undefined;
  readonly networkState: (networkId: string) => { readonly state: "ready" | "failed"; readonly problem?: string | undefined } | undefined;
  /** Path of a CD's image in the pool; `null` while it is on its way (the fetch is started). */
  readonly cdromImage: (
    image: RecordOf<"image">,
    poolPath: string,
    machineId: string,
  ) => { readonly path: string } | { readonly waiting: string } | { readonly failed: string };
}

/** A disk that is still being made has its place already: its domain can be defined, if not started. */
export type MachineInput =
  | { readonly input: DomainInput; readonly needs: Needs }
  | { readonly input: null; readonly needs: Exclude<Needs, { state: "ready" }> };

class NotYet extends Error {
  readonly state: "waiting" | "failed";
  constructor(state: "waiting" | "failed", message: string) {
    super(message);
    this.state = state;
  }
}

export function machineInput(vm: Vm, options: MachineInputOptions): MachineInput {
  try {
    const waitsFor: string[] = [];
    const input = build(vm, options, waitsFor);
    return { input, needs: waitsFor[0] === undefined ? { state: "ready" } : { state: "waiting", why: waitsFor[0] } };
  } catch (error) {
    if (error instanceof NotYet) return { input: null, needs: { state: error.state, why: error.message } };
    throw error;
  }
}

/** @param waitsFor takes what must be there before it starts */
function build(vm: Vm, options: MachineInputOptions, waitsFor: string[]): DomainInput {
  const { kept } = options;
  const host = options.host();
  if (!host) throw new NotYet("waiting", "it waits for the hypervisor to answer");
  const { placement, spec } = vm;
  if (!placement) throw new NotYet("waiting", "it waits for its placement");
  const hostDevices = hostDevicesOf(vm, options);
  const binding = bindingOf(vm, placement.numa, options);
  return {
    ...(binding === undefined ? {} : { binding }),
    vm: { id: vm.id, name: vm.name, number: vm.number, generation: vm.generation, spec },
    epoch: placement.epoch,
    incarnation: placement.incarnation,
    disks: spec.disks.map((disk) => {
      const { path, format } = diskFile(disk, options, waitsFor);
      return { disk, path, format };
    }),
    cdroms: spec.cdroms.map((cdrom) => ({ cdrom, path: cdrom.image === null ? null : cdromFile(cdrom.image, vm.id, options) })),
    seedPath: vm.spec.cloudInit.seed === false ? null : seedPath(vm.id),
    nics: spec.nics.map((nic) => {
      const { bridge, mtu } = bridgeOf(nic.network, options);
      return { nic, bridge, mtu, tapName: tapDeviceName(nic.mac ?? "") };
    }),
    hostDevices,
    host: { ...host, cpuBaseline: cpuBaseline(kept, options.hostId) },
    paths: { nvram: nvramPath(vm.id) },
  };
}

function hostDevicesOf(vm: Vm, options: MachineInputOptions): readonly HostDevice[] {
  const needs = hostDeviceNeeds(vm, options.devices());
  if ("devices" in needs) return needs.devices;
  throw "waiting" in needs ? new NotYet("waiting", needs.waiting) : new NotYet("failed", needs.failed);
}

/** @param numa the cells that it has on this host, or is to have */
export function bindingOf(
  { id, spec: { cpu } }: Vm,
  numa: NumaPlacement | undefined,
  { kept, hostId, host }: Pick<MachineInputOptions, "kept" | "hostId" | "host">,
): HostBinding | undefined {
  const taken = takenCpus(kept.documents("vm"), hostId, id);
  return cellBinding({ numa, taken, floating: cpu.placement === "floating", cells: host()?.cells, vcpus: cpu.maximum ?? cpu.count });
}

function diskFile(disk: Vm["spec"]["disks"][number], options: MachineInputOptions, waitsFor: string[]): { path: string; format: "qcow2" | "raw" } {
  const { kept } = options;
  const volume = disk.volume === undefined ? undefined : kept.document("volume", disk.volume);
  if (!volume || volume.placement?.host !== options.hostId)
    throw new NotYet("waiting", `it waits for disk ${disk.name}: its volume is not known on this host yet`);
  const pool = kept.document("pool", volume.spec.pool);
  const seen = options.volumeState(volume.id);
  if (seen?.state === "failed") throw new NotYet("failed", `disk ${disk.name}: ${seen.problem ?? "it could not be made"}`);
  if (!pool || seen?.state === "gone") throw new NotYet("waiting", `it waits for disk ${disk.name} to be made`);
  if (seen?.state !== "ready") waitsFor.push(`it waits for disk ${disk.name} to be made`);
  return { path: volumePath(pool, volume), format: volume.spec.format };
}

/** CD images lie in this host's own pool named `local`, else in the first local one by name. */
export function cdromPool(kept: KeptState): RecordOf<"pool"> | undefined {
  const local = kept
    .documents("pool")
    .filter((pool) => pool.spec.type === "local" && pool.deletedAt === undefined)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return local.find((pool) => pool.name === "local") ?? local[0];
}

function cdromFile(imageId: string, machineId: string, options: MachineInputOptions): string {
  const { kept } = options;
  const image = kept.document("image", imageId);
  const pool = cdromPool(kept);
  if (!image) throw new NotYet("waiting", `it waits for the CD image ${imageId} to be known on this host`);
  if (!pool) throw new NotYet("failed", "CD images need a local pool on this host, and it has none: add one");
  if (image.status.library?.state !== "ready") throw new NotYet("waiting", `it waits for the CD image ${image.name} to be ready in the library`);
  const found = options.cdromImage(image, pool.spec.path, machineId);
  if ("path" in found) return imagePath(pool.spec.path, image);
  throw "waiting" in found ? new NotYet("waiting", found.waiting) : new NotYet("failed", found.failed);
}

function bridgeOf(networkId: string, options: MachineInputOptions): { bridge: string; mtu: number } {
  const network = options.kept.document("network", networkId);
  if (!network) throw new NotYet("waiting", `it waits for its network ${networkId} to be known on this host`);
  const seen = options.networkState(networkId);
  if (seen?.state === "failed") throw new NotYet("failed", `network ${network.name}: ${seen.problem ?? "it is not usable on this host"}`);
  if (!seen) throw new NotYet("waiting", `it waits for network ${network.name} on this host`);
  return { bridge: network.spec.bridge, mtu: network.spec.mtu };
}

function cpuBaseline(kept: KeptState, hostId: string): string {
  const clusterId = kept.document("host", hostId)?.spec.cluster;
  const cluster = clusterId === undefined ? undefined : kept.document("cluster", clusterId);
  return cluster ? clusterCpuModel(cluster.spec, cluster.status) : "qemu64";
}
