/** What one machine needs of a host, with every reference looked up: the scheduler's only input besides the snapshot. */
import type { Gang, Neighbours, NumaPlacement, PlacementPolicy, RecordOf, VmGpus, VmPciDevice, VmRecord } from "@sheaf/model";
import type { RequestRule } from "./group-book.ts";
import type { CellNeed, CellPart } from "./numa-choice.ts";
import { type PromiseTerms, promiseTerms } from "./promise-weights.ts";

export interface VolumeNeed {
  readonly volume: string;
  /** Id of its pool. */
  readonly pool: string;
  readonly sizeBytes: number;
  /** The only host that can have it: it lies there, or was asked to, in a local pool. */
  readonly pinnedTo?: string;
}

export interface PlacementRequest {
  readonly vm: string;
  readonly name: string;
  /** 0 … 1000; higher first in a batch. */
  readonly priority: number;
  /** vCPUs promised to it: the most it may have, where each is to have a CPU of its own. */
  readonly cpus: number;
  readonly memoryBytes: number;
  /** What it needs of NUMA cells. Absent: it is to float, or is no machine. */
  readonly cells?: CellNeed;
  /** Memory comes from the host's huge pages instead of its ordinary memory. */
  readonly hugepages: boolean;
  /** `cluster-baseline`, `host-passthrough`, `host-model`, or a model's name. */
  readonly cpuModel: string;
  readonly machineType: "q35" | "pc";
  readonly uefi: boolean;
  readonly secureBoot: boolean;
  readonly tpm: boolean;
  /** Id or name. */
  readonly cluster?: string;
  readonly host?: string;
  readonly hostSelector: Readonly<Record<string, string>>;
  /** Group names with their project in front, so that projects do not meet. */
  readonly together?: string;
  readonly apart?: string;
  readonly rules: readonly RequestRule[];
  /** All of them or none; the name has the project in front. */
  readonly gang?: Gang;
  readonly neighbours?: Neighbours;
  /** Names of licences that its cluster must have. */
  readonly licences: readonly string[];
  /** Present where it is not overcommitted like the rest: reservations, a limit, a class. */
  readonly terms?: PromiseTerms;
  /** Absent: its cluster's. */
  readonly policy?: PlacementPolicy;
  /** Of its host for itself; absent: none. */
  readonly gpus?: VmGpus;
  readonly pciDevices?: readonly VmPciDevice[];
  /** Ids of networks. */
  readonly networks: readonly string[];
  readonly volumes: readonly VolumeNeed[];
  /** Ids of its volumes that have no record: it fits nowhere until they are there. */
  readonly unknownVolumes: readonly string[];
  /** It is new: it must leave the room that its cluster keeps for the loss of hosts. Absent for what has been let in already. */
  readonly admitted?: false;
  /** Host that is not to be chosen: the present one, when the machine is to move. */
  readonly leave?: string;
  /** All of that host's machines go, as from one that is drained: they are not bound to it by each other. */
  readonly evacuates?: true;
}

/** `place`: it has no host yet, or starts anew elsewhere. `move`: it is to leave its host; local volumes are copied along. */
export type Purpose = "place" | "move";

export const groupKey = (vm: VmRecord, group: string): string => `${vm.project ?? ""}/${group}`;

export const rulesOf = (vm: VmRecord): readonly RequestRule[] =>
  vm.spec.placement.rules?.map((rule) => ({ ...rule, group: groupKey(vm, rule.group), limit: rule.limit ?? 1 })) ?? none;

/** One for all: most machines have none. */
export const none: readonly never[] = [];

/** Looks up a volume's record, or a pool's. */
export interface RequestRecords {
  readonly volume: (id: string) => RecordOf<"volume"> | undefined;
  readonly pool: (id: string) => RecordOf<"pool"> | undefined;
}

export function placementRequest(vm: VmRecord, records: RequestRecords, purpose: Purpose): PlacementRequest {
  const { cpu, memory, firmware, machineType, placement, nics, disks, priority, gpus, pciDevices } = vm.spec;
  const volumes: VolumeNeed[] = [];
  const unknownVolumes: string[] = [];
  for (const disk of disks) {
    if (disk.volume === undefined) continue;
    const volume = records.volume(disk.volume);
    if (volume === undefined) {
      unknownVolumes.push(disk.volume);
      continue;
    }
    const pinnedTo = purpose === "place" ? holder(volume, records) : undefined;
    volumes.push({
      volume: volume.id,
      pool: volume.spec.pool,
      sizeBytes: volume.spec.sizeBytes,
      ...(pinnedTo === undefined ? {} : { pinnedTo }),
    });
  }
  const terms = promiseTerms(vm.spec);
  // Others give way for it there: the room is kept for it, and it is not to look for another.
  const host = placement.host ?? (purpose === "place" ? vm.status.claim?.host : undefined);
  return {
    vm: vm.id,
    name: vm.name,
    priority,
    cpus: promisedCpus(cpu),
    memoryBytes: memory.bytes,
    ...cellsOf(vm, purpose),
    hugepages: memory.hugepages,
    cpuModel: cpu.model,
    machineType,
    uefi: firmware.type === "uefi",
    secureBoot: firmware.secureBoot,
    tpm: firmware.tpm,
    ...(placement.cluster === undefined ? {} : { cluster: placement.cluster }),
    ...(host === undefined ? {} : { host }),
    hostSelector: placement.hostSelector,
    ...(placement.together === undefined ? {} : { together: groupKey(vm, placement.together) }),
    ...(placement.apart === undefined ? {} : { apart: groupKey(vm, placement.apart) }),
    rules: rulesOf(vm),
    // Once they have hosts, each is moved and started anew by itself.
    ...(placement.gang === undefined || vm.placement !== undefined ? {} : { gang: { ...placement.gang, name: groupKey(vm, placement.gang.name) } }),
    ...(placement.neighbours === undefined ? {} : { neighbours: placement.neighbours }),
    licences: placement.licences ?? none,
    ...(terms === undefined ? {} : { terms }),
    ...(placement.policy === undefined ? {} : { policy: placement.policy }),
    ...(gpus === undefined ? {} : { gpus }),
    ...(pciDevices === undefined || pciDevices.length === 0 ? {} : { pciDevices }),
    networks: [...new Set(nics.map((nic) => nic.network))],
    volumes,
    unknownVolumes,
    ...(vm.placement === undefined ? { admitted: false } : {}),
    ...(purpose === "move" && vm.placement !== undefined ? { leave: vm.placement.host } : {}),
  };
}

/** CPUs of its own are there for those too that it may be given while it runs. */
export const promisedCpus = (cpu: VmRecord["spec"]["cpu"]): number => (cpu.placement === "dedicated" ? (cpu.maximum ?? cpu.count) : cpu.count);

function cellsOf({ spec: { cpu, memory }, status, placement }: VmRecord, purpose: Purpose): Pick<PlacementRequest, "cells"> {
  const { bytes, hugepages } = memory;
  if (cpu.placement === "floating" && !hugepages) return {};
  const whole = { vcpus: cpu.maximum ?? cpu.count, memoryBytes: bytes };
  const need = { placement: cpu.placement ?? ("automatic" as const), ...whole, hugepages };
  // A guest that moves while it runs goes on seeing the cells that it has seen.
  const runs = purpose === "move" && (status.agent?.state === "running" || status.agent?.state === "paused");
  const parts = runs ? shownParts(placement?.numa, whole) : undefined;
  return { cells: parts === undefined ? need : { ...need, parts } };
}

/** The cells that its guest sees: memory that it has been given since belongs to the first. @returns `undefined` where it sees others at its next start */
function shownParts(numa: NumaPlacement | undefined, whole: CellPart): readonly CellPart[] | undefined {
  if (numa?.guestCells !== true) return [whole];
  const [first, ...others] = numa.cells.map(({ vcpus, memoryBytes }) => ({ vcpus, memoryBytes }));
  if (first === undefined) return undefined;
  const memoryBytes = others.reduce((left, part) => left - part.memoryBytes, whole.memoryBytes);
  const vcpus = others.reduce((sum, part) => sum + part.vcpus, first.vcpus);
  return vcpus === whole.vcpus && memoryBytes > 0 ? [{ ...first, memoryBytes }, ...others] : undefined;
}

/** The host that a volume binds its machine to; `undefined` where several hosts see it, or it is still to be made anywhere. */
function holder(volume: RecordOf<"volume">, records: RequestRecords): string | undefined {
  if (records.pool(volume.spec.pool)?.spec.type === "shared") return undefined;
  const own = volume.placement?.host ?? volume.spec.host;
  if (own !== undefined) return own;
  // A copy is made by the host that holds the original.
  const source = volume.spec.source;
  const original = source !== undefined && "volume" in source ? records.volume(source.volume) : undefined;
  if (original === undefined || records.pool(original.spec.pool)?.spec.type === "shared") return undefined;
  return original.placement?.host;
}
