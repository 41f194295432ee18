/**
 * What would be if a cluster had more hosts: which machines that wait now would get one, how it would stand, and how many more machines of a
 * size would fit. Asked by the API; tried on a copy, by the code that places in earnest. Nothing is changed.
 */
import type { RecordOf } from "@sheaf/model";
import { type ClusterOutlook, clusterOutlook, type PlacementRequest, planBatch, type SnapshotIndex } from "@sheaf/scheduling";
import type { RecordCache } from "../context.ts";
import { addHosts, type HostShape } from "./added-hosts.ts";
import { placeWaiting } from "./waiting-machines.ts";

export interface AddedHosts {
  readonly like: RecordOf<"host">;
  readonly count: number;
  readonly shape: HostShape;
  /** How many more of these would fit; absent: not asked. */
  readonly size?: PlacementRequest | undefined;
}

export interface IfHostsAdded {
  readonly before: ClusterOutlook;
  readonly after: ClusterOutlook;
  /** Names of the new hosts by their identifiers. */
  readonly added: ReadonlyMap<string, string>;
  /** That would get a host because of the new ones. */
  readonly placed: readonly { readonly vm: RecordOf<"vm">; readonly host: string }[];
  readonly waiting: readonly { readonly vm: RecordOf<"vm">; readonly why: string }[];
  /** More machines of the size that was asked for: at most `mostMachines` are counted. */
  readonly room?: { readonly before: number; readonly after: number };
}

/** More are not counted: the answer is "at least". */
export const mostMachines = 2000;
const machinesAtOnce = 250;

/** @param copy is used up */
export function ifHostsAdded({ like, count, shape, size }: AddedHosts, copy: SnapshotIndex, cache: Pick<RecordCache, "all">): IfHostsAdded {
  const unplaced = [...cache.all("vm")].filter((vm) => vm.placement === undefined && vm.deletedAt === undefined);
  const room = (): number => (size === undefined ? 0 : roomFor(size, copy));
  // Those that would get a host anyway are none of the new hosts' doing.
  const anyway = placeWaiting(unplaced, copy);
  const before = clusterOutlook(copy, like.spec.cluster);
  const roomBefore = room();
  const added = addHosts(copy, like, count, shape, { pools: cache.all("pool"), networks: cache.all("network") });
  const { placed, waiting } = placeWaiting(
    anyway.waiting.map(({ vm }) => vm),
    copy,
  );
  return {
    ...{ added, before, after: clusterOutlook(copy, like.spec.cluster), placed, waiting },
    ...(size === undefined ? {} : { room: { before: roomBefore, after: room() } }),
  };
}

/** Some at a time, until one fits nowhere. */
function roomFor(size: PlacementRequest, snapshot: SnapshotIndex): number {
  const placed: PlacementRequest[] = [];
  for (let full = false; !full && placed.length < mostMachines;) {
    const requests = Array.from({ length: machinesAtOnce }, (_, at) => ({ ...size, vm: `${size.vm}/${placed.length + at}` }));
    const decisions = planBatch(requests, snapshot);
    for (const { request, decision } of decisions) {
      if (decision.none) full = true;
      else placed.push(request);
    }
  }
  for (const request of placed) snapshot.release(request);
  return placed.length;
}
