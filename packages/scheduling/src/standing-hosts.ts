/**
 * Hosts that no standing filter rules out, remembered by what requests ask for: a batch decides hundreds of machines that ask for the same,
 * and between its decisions only reservations change. One of these for a batch; not to be kept over changes of the records.
 */
import type { PlacementRequest } from "./placement-request.ts";
import { standingFilters, standingKey } from "./request-filters.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export class StandingHosts {
  readonly #snapshot: SnapshotIndex;
  readonly #slots = new Map<string, readonly number[]>();

  constructor(snapshot: SnapshotIndex) {
    this.#snapshot = snapshot;
  }

  /** Slots that pass for all `requests`. O(hosts) for the first of its kind. */
  slots(requests: readonly PlacementRequest[]): readonly number[] {
    const keys = [...new Set(requests.map(standingKey))].toSorted().join("\n");
    let slots = this.#slots.get(keys);
    if (slots === undefined) this.#slots.set(keys, (slots = this.#pass(requests)));
    return slots;
  }

  #pass(requests: readonly PlacementRequest[]): readonly number[] {
    const { table } = this.#snapshot;
    const filters = requests.flatMap((request) => standingFilters(request, this.#snapshot));
    const slots: number[] = [];
    for (let slot = 0; slot < table.length; slot += 1) {
      if (table.facts[slot] !== undefined && !filters.some((filter) => filter.fails(slot))) slots.push(slot);
    }
    return slots;
  }
}
