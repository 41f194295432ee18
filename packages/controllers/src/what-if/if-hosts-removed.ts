/**
 * What would be if hosts were taken away: where each of their machines would go, which would find no place, and how the rest of their clusters
 * would stand. Asked by the API; tried on a copy, in the order and by the code of a drain. Nothing is changed.
 */
import type { RecordOf } from "@sheaf/model";
import { planDrain } from "@sheaf/planning";
import { type ClusterOutlook, clusterOutlook, type PlacementRequest } from "@sheaf/scheduling";
import { chooseTarget, drainMachine, type EvacuationSite } from "../evacuation.ts";

export interface IfHostsRemoved {
  readonly clusters: readonly { readonly cluster: string; readonly before: ClusterOutlook; readonly after: ClusterOutlook }[];
  readonly moves: readonly { readonly vm: RecordOf<"vm">; readonly from: string; readonly to: string }[];
  /** Would have no place, or cannot move as they are. */
  readonly stuck: readonly { readonly vm: RecordOf<"vm">; readonly from: string; readonly why: string }[];
  /** On their way from these hosts already. */
  readonly moving: number;
}

/** @param site its snapshot is a copy, and used up */
export function ifHostsRemoved(hosts: readonly RecordOf<"host">[], site: EvacuationSite): IfHostsRemoved {
  const { cache, snapshot } = site;
  const ids = new Set(hosts.map(({ id }) => id));
  const clusterIds = [...new Set(hosts.map(({ spec }) => spec.cluster))];
  const before = clusterIds.map((cluster) => clusterOutlook(snapshot, cluster));
  // All at once: no machine goes from one to the other.
  for (const host of hosts) snapshot.update({ type: "upsert", record: { ...host, kind: "host", spec: { ...host.spec, schedulable: "draining" } } });
  const machines = new Map(hosts.map(({ id }): [string, RecordOf<"vm">[]] => [id, []]));
  for (const vm of cache.all("vm")) machines.get(vm.placement?.host ?? "")?.push(vm);
  const moves: { vm: RecordOf<"vm">; from: string; to: string }[] = [];
  const stuck: { vm: RecordOf<"vm">; from: string; why: string }[] = [];
  let moving = 0;
  const reserved: PlacementRequest[] = [];
  for (const host of hosts) {
    const its = (machines.get(host.id) ?? []).map((vm) => drainMachine(vm, host, site));
    moving += its.filter((machine) => machine.moving).length;
    const choose = (id: string) => chooseTarget(id, host, site, reserved);
    const plan = planDrain({ machines: its, choose, maximumParallel: Number.POSITIVE_INFINITY });
    const of = (id: string): RecordOf<"vm">[] => machines.get(host.id)?.filter((vm) => vm.id === id) ?? [];
    for (const { machineId, host: to } of plan.start) moves.push(...of(machineId).map((vm) => ({ vm, from: host.id, to })));
    for (const { vm: id, why } of plan.stuck) stuck.push(...of(id).map((vm) => ({ vm, from: host.id, why })));
  }
  const clusters = clusterIds.map((cluster, at) => {
    const after = clusterOutlook(snapshot, cluster, ids);
    return { cluster, before: before[at] ?? after, after };
  });
  return { clusters, moves, stuck, moving };
}
