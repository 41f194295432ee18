/**
 * What GPUs add to a host's score. For a machine that wishes for some: what the GPU policy says it costs there. For any other, under policies
 * that keep room for what may come: what it takes from the idle GPUs beside it, each of which is owed its share of the host's CPU and memory.
 */
import type { PlacementRequest } from "../placement-request.ts";
import type { WeightedPolicies } from "../policy-choice.ts";
import { chargesOf, type SnapshotIndex } from "../snapshot.ts";
import type { OwnUse } from "./gpu-columns.ts";

/** Scores of policies are of the order of 1 between an empty host and a full one: a tenth of a GPU outweighs that. */
const perGpu = 10;

/** Higher is better, never above 0 without a wish. @returns `undefined` where GPUs say nothing */
export function gpuTerm(
  requests: readonly PlacementRequest[],
  by: WeightedPolicies,
  snapshot: SnapshotIndex,
): ((slot: number) => number) | undefined {
  if (snapshot.devices.gpuSlots.size === 0) return undefined;
  const sum = (of: (request: PlacementRequest) => number): number => requests.reduce((total, request) => total + of(request), 0);
  const cpus = sum((request) => request.cpus);
  const memoryBytes = sum((request) => request.memoryBytes);
  const own = ownUse(requests, snapshot);
  // Those that share a host differ in little; the first tells what kind of GPUs they are about.
  const gpus = requests.find((request) => request.gpus !== undefined)?.gpus;
  if (gpus !== undefined) {
    const cost = snapshot.gpus.choice({ cpus, memoryBytes, gpus });
    return own.size === 0 ? (slot) => (-perGpu * cost(slot)) / 1000 : (slot) => (-perGpu * cost(slot, own.get(slot))) / 1000;
  }
  const weight = by.reduce((total, { policy, weight: its }) => total + (policy.keepsGpuHosts === true ? its : 0), 0);
  if (weight === 0) return undefined;
  const { devices, table } = snapshot;
  return (slot) => {
    const idle = devices.idleGpus[slot] ?? 0;
    if (idle === 0) return 0;
    const there = own.size === 0 ? undefined : own.get(slot);
    const each = devices.gpus[slot] ?? 1;
    const cpuCapacity = table.cpuCapacity[slot] ?? 0;
    const memoryCapacity = (table.memoryCapacity[slot] ?? 0) + (table.hugeCapacity[slot] ?? 0);
    const freeCpus = cpuCapacity - (table.cpuUsed[slot] ?? 0) + (there?.cpus ?? 0);
    const freeMemory = memoryCapacity - (table.memoryUsed[slot] ?? 0) - (table.hugeUsed[slot] ?? 0) + (there?.memoryBytes ?? 0);
    // How many GPUs what is free would do for.
    const served = (cpusLeft: number, memoryLeft: number): number =>
      Math.max(0, Math.min(idle, (each * cpusLeft) / cpuCapacity, (each * memoryLeft) / memoryCapacity));
    const loss = served(freeCpus, freeMemory) - served(freeCpus - cpus, freeMemory - memoryBytes);
    return loss === 0 ? 0 : -perGpu * weight * loss;
  };
}

function ownUse(requests: readonly PlacementRequest[], snapshot: SnapshotIndex): ReadonlyMap<number, OwnUse> {
  const charges = chargesOf(requests, snapshot);
  const bySlot = new Map<number, OwnUse>();
  for (const charge of charges) {
    for (const slot of charge.slots) {
      const before = bySlot.get(slot);
      const memoryBytes = (before?.memoryBytes ?? 0) + charge.memoryBytes + charge.hugeBytes;
      bySlot.set(slot, { holders: new Set(charges), cpus: (before?.cpus ?? 0) + charge.cpus, memoryBytes });
    }
  }
  return bySlot;
}
