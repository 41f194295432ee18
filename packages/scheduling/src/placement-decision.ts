/** What the scheduler answers: a host and why, or nobody and why not. */
import type { NumaPlacement, PlacedDevices } from "@sheaf/model";

export interface Chosen {
  readonly none?: never;
  /** Id. */
  readonly host: string;
  readonly score: number;
  /** Terms of the score. */
  readonly parts: Readonly<Record<string, number>>;
  /** Sentences for people; the first goes into `placement.reason`. */
  readonly reasons: readonly string[];
  /** What of the host the machine gets for itself; absent: it wishes for nothing such. */
  readonly devices?: PlacedDevices;
  /** NUMA cells and physical CPUs on that host, where it is to have any. */
  readonly numa?: NumaPlacement;
}

/** Hosts that one reason rules out. */
export interface RefusalClass {
  readonly code: string;
  /** Ids. */
  readonly hosts: readonly string[];
  /** `2 lack memory (largest free 1.2 GiB)` */
  readonly text: string;
}

export interface NoHost {
  readonly none: true;
  /** `no host fits: 2 lack memory (largest free 1.2 GiB), 1 is cordoned` */
  readonly reason: string;
  /** Every host of the snapshot is in exactly one. */
  readonly classes: readonly RefusalClass[];
}

export type PlacementDecision = Chosen | NoHost;

export interface RankedHost {
  /** Id. */
  readonly host: string;
  readonly name: string;
  readonly fits: boolean;
  /** Which of its NUMA cells and CPUs the machine would have, where any. */
  readonly numa?: NumaPlacement;
  /** Why not, all of it; or what it would look like afterwards. */
  readonly reasons: readonly string[];
  /** Only where it fits; higher is better. */
  readonly score?: number;
  /** Terms of the score. */
  readonly parts?: Readonly<Record<string, number>>;
}
