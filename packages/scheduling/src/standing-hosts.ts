/**
 * What the standing filters say of every host, remembered by what requests ask for: there are far fewer kinds of requests than machines, and
 * facts of hosts change far less often than what is promised on them. Held by SnapshotIndex; brought up to date when asked, host by host.
 */
import { Headroom } from "./headroom.ts";
import { type HostFilter, type HostMask, noHost } from "./host-filter.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { standingFilters, standingKey } from "./request-filters.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** Kinds of requests remembered; each takes some 34 bytes a host. */
const kindsKept = 32;

export class StandingHosts {
  readonly #snapshot: SnapshotIndex;
  readonly #sets = new Map<string, StandingSet>();
  /** A mask that the last decision has done with: one for each decision would be most of what the collector has to do. */
  #spare: HostMask | undefined;

  constructor(snapshot: SnapshotIndex) {
    this.#snapshot = snapshot;
  }

  /** All open. To be given back, or not, by whoever is sure to be done with it. */
  takeMask(length: number): HostMask {
    const spare = this.#spare;
    this.#spare = undefined;
    return spare?.length === length ? spare.fill(0) : new Uint16Array(length);
  }

  giveBack(mask: HostMask): void {
    this.#spare = mask;
  }

  /** O(hosts) for the first of its kind, and after a change of a cluster or of one of its networks; else O(hosts that changed). */
  of(request: PlacementRequest): StandingSet {
    const key = standingKey(request);
    let set = this.#sets.get(key);
    this.#sets.delete(key);
    if (set === undefined || !set.update()) set = new StandingSet(request, this.#snapshot);
    // The one that was not asked for longest goes first.
    this.#sets.set(key, set);
    if (this.#sets.size > kindsKept) for (const oldest of [...this.#sets.keys()].slice(0, 1)) this.#sets.delete(oldest);
    return set;
  }
}

export class StandingSet {
  readonly filters: readonly HostFilter[];
  /** A filter's mark is its place in `filters`, from 1. Not to be changed. */
  readonly mask: HostMask;
  readonly #snapshot: SnapshotIndex;
  readonly #clustersVersion: number;
  readonly #networks: readonly (readonly [id: string, record: unknown])[];
  #position: number;
  #headroom: Headroom | undefined;

  constructor(request: PlacementRequest, snapshot: SnapshotIndex) {
    const { table } = snapshot;
    this.#snapshot = snapshot;
    this.#clustersVersion = table.clustersVersion;
    this.#networks = request.networks.map((id) => [id, snapshot.networks.get(id)]);
    this.#position = table.factsLog.position;
    this.filters = standingFilters(request, snapshot);
    this.mask = new Uint16Array(table.length);
    for (let slot = 0; slot < table.length; slot += 1) this.mask[slot] = this.#mark(slot);
  }

  /** @returns `false` where it is out of date for all hosts */
  update(): boolean {
    const { table, networks } = this.#snapshot;
    if (this.mask.length !== table.length || this.#clustersVersion !== table.clustersVersion) return false;
    if (this.#networks.some(([id, record]) => networks.get(id) !== record)) return false;
    const known = table.factsLog.since(this.#position, (slot) => {
      const mark = this.#mark(slot);
      if (mark === this.mask[slot]) return;
      this.mask[slot] = mark;
      this.#headroom?.changed(slot);
    });
    this.#position = table.factsLog.position;
    return known;
  }

  /** Of the hosts that no standing filter refuses. */
  headroom(): Headroom {
    if (this.#headroom?.update() === true) return this.#headroom;
    this.#headroom = new Headroom(this.#snapshot.table, this.#snapshot.mix, this.mask);
    this.#headroom.update();
    return this.#headroom;
  }

  #mark(slot: number): number {
    if (this.#snapshot.table.facts[slot] === undefined) return noHost;
    return this.filters.findIndex((filter) => filter.fails(slot)) + 1;
  }
}
