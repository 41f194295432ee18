/** What a cluster says of noisy machines and those that are sensitive to them. */
import type { NeighbourRule } from "@sheaf/model";
import { neighboursOn } from "./group-rules.ts";
import { type HostFilter, hostFilter } from "./host-filter.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export function neighbourFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { neighbours } = request;
  if (neighbours === undefined) return [];
  const { table } = snapshot;
  /** By the number of the cluster. */
  const rules = new Map<number, NeighbourRule>();
  for (const { id, spec } of table.clusters()) if (spec.neighbours !== undefined) rules.set(table.numberOf(id), spec.neighbours);
  if (rules.size === 0) return [];
  const ruleOf = (slot: number): NeighbourRule | undefined => rules.get(table.clusterNumber[slot] ?? -1);
  const { noisy, sensitive } = neighboursOn(request, snapshot);
  if (neighbours === "sensitive") {
    const words = { code: "noisy", own: false, one: "holds noisy machines", many: "hold noisy machines" };
    return [hostFilter(words, (slot) => ruleOf(slot)?.strict === true && noisy(slot) > 0)];
  }
  const disturbed = { code: "sensitive", own: false, one: "holds machines sensitive to noise", many: "hold machines sensitive to noise" };
  const full = { code: "noisy-limit", own: false, one: "holds as many noisy machines as it may", many: "hold as many noisy machines as they may" };
  return [
    hostFilter(disturbed, (slot) => ruleOf(slot)?.strict === true && sensitive(slot) > 0),
    hostFilter(full, (slot) => noisy(slot) >= (ruleOf(slot)?.noisyPerHost ?? Number.POSITIVE_INFINITY)),
  ];
}
