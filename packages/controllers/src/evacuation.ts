/** Asks planning/evacuation-check about one host, with a picture of the site. For the API before maintenance, and for rolling maintenance. Changes nothing. */
import type { RecordOf } from "@sheaf/model";
import {
  checkEvacuation,
  chooseMigrationTarget,
  moveRefusal,
  type DrainMachine,
  type EvacuationCheck,
  type HostRoom,
  type TargetChoice,
} from "@sheaf/planning";
import { failOverRoom, type PlacementRequest, type SnapshotIndex } from "@sheaf/scheduling";
import type { RecordCache } from "./context.ts";
import type { Agents } from "./ports.ts";
import { volumesOf } from "./records.ts";

export interface EvacuationSite {
  readonly cache: RecordCache;
  readonly agents: Pick<Agents, "connected">;
  readonly snapshot: SnapshotIndex;
}

/** @param vms the machines placed on the host. Their moves are counted in for the time of this call, which does not yield. */
export function evacuationOf(host: RecordOf<"host">, vms: readonly RecordOf<"vm">[], site: EvacuationSite): EvacuationCheck {
  const { cache, snapshot } = site;
  const reserved: PlacementRequest[] = [];
  try {
    return checkEvacuation({
      machines: vms.map((vm) => drainMachine(vm, host, site)),
      choose: (id) => chooseTarget(id, host, site, reserved),
      others: () => othersOf(host, cache, snapshot),
      failOverRoom: () => failOverRoom(snapshot, host.spec.cluster, new Set([host.id])),
    });
  } finally {
    for (const request of reserved) snapshot.release(request);
  }
}

export function drainMachine(vm: RecordOf<"vm">, host: RecordOf<"host">, { cache, agents }: EvacuationSite): DrainMachine {
  const moving = vm.status.migration !== undefined;
  const refusal = moving ? null : moveRefusal(vm, agents.connected(host.id), volumesOf(vm, cache), (id) => cache.get("pool", id));
  return { id: vm.id, memoryBytes: vm.spec.memory.bytes, moving, refusal };
}

/** @param reserved grows by what was counted in */
export function chooseTarget(id: string, source: RecordOf<"host">, site: EvacuationSite, reserved: PlacementRequest[]): TargetChoice {
  const { cache, agents, snapshot } = site;
  const vm = cache.get("vm", id);
  if (!vm) return { why: "it is gone" };
  const request = { ...snapshot.request(vm, "move"), evacuates: true } as const;
  const chosen = chooseMigrationTarget({
    ...{ vm, source, request, snapshot },
    host: (other) => cache.get("host", other),
    connected: (other) => agents.connected(other),
    running: vm.status.agent?.state === "running",
  });
  // One that is reserved already is on its way by somebody's decision: it is left as it is.
  if ("host" in chosen && snapshot.reservedHost(id) === undefined) {
    snapshot.reserve(request, chosen.host);
    reserved.push(request);
  }
  return chosen;
}

function othersOf(host: RecordOf<"host">, cache: RecordCache, snapshot: SnapshotIndex): HostRoom[] {
  const rooms: HostRoom[] = [];
  for (const other of cache.all("host")) {
    if (other.id === host.id || other.spec.cluster !== host.spec.cluster) continue;
    const usage = snapshot.usage(other.id);
    if (!usage) continue;
    rooms.push({
      name: other.name,
      memoryCapacityBytes: usage.memoryCapacityBytes,
      memoryUsedBytes: usage.memoryUsedBytes,
      cpuCapacity: usage.cpuCapacity,
      cpuUsed: usage.cpuUsed,
      open: other.spec.schedulable === "open" && other.status.liveness?.state === "ready" && other.deletedAt === undefined,
    });
  }
  return rooms;
}
