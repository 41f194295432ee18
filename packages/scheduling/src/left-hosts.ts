import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** Hosts whose machines bind no others to them. */
export function leftHosts({ evacuates, leave }: PlacementRequest, { table }: SnapshotIndex): (slot: number) => boolean {
  const leaves = evacuates === true && leave !== undefined ? table.find(leave) : undefined;
  return (slot) => slot === leaves || table.isLeft(slot);
}
