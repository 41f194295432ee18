/**
 * Whether a machine stands where it may, and whether room is all that a host lacks for one: what balancing asks before it mends rules or makes
 * room. O(1) in hosts.
 */
import { failingAt } from "./host-candidates.ts";
import { type HostFilter, hostText } from "./host-filter.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { bindingFilters, companyFilters, wishFilters } from "./request-filters.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export interface BrokenRules {
  /** In words, as of a host that is refused: `lacks the host labels it asks for`. */
  readonly reasons: readonly string[];
  /** Whose rules it breaks together with others: moved apart or together, one of them may be enough. */
  readonly groups: readonly string[];
}

/** Rules that the machine's host does not keep; capacity and the host's state are none. @param request of where it is */
export function brokenRules({ leave: _leave, ...request }: PlacementRequest, hostId: string, snapshot: SnapshotIndex): BrokenRules {
  const slot = snapshot.table.find(hostId);
  if (slot === undefined) return { reasons: [], groups: [] };
  const own = [...wishFilters(request, snapshot), ...bindingFilters({ ...request, unknownVolumes: [], volumes: [] }, snapshot)];
  const broken = (filters: readonly HostFilter[]): string[] => filters.filter((filter) => filter.fails(slot)).map((filter) => hostText(filter, slot));
  const [mine, shared] = [broken(own), broken(companyFilters(request, snapshot))];
  const { together, apart, rules, neighbours, licences } = request;
  const named = [together, apart, ...rules.map(({ group }) => group), ...licences].filter((group) => group !== undefined);
  const groups = [...named, ...(neighbours === undefined ? [] : [`neighbours of ${hostId}`])];
  return { reasons: [...mine, ...shared], groups: shared.length > 0 ? groups : [] };
}

/** Without CPU and memory that others are promised it would be taken. */
export function lacksOnlyRoom(request: PlacementRequest, hostId: string, snapshot: SnapshotIndex): boolean {
  const slot = snapshot.table.find(hostId);
  if (slot === undefined) return false;
  return failingAt(slot, request, snapshot).every(({ code }) => code === "cpu" || code === "memory");
}
