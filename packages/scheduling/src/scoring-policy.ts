/** What a scoring policy is. One file each under policies/; `policies` is the registry that settings choose from by name. */
import type { PlacementPolicyName } from "@sheaf/model";
import type { Headroom } from "./headroom.ts";

export interface HostFigures {
  /** vCPUs that may be promised, and those that are, before this machine. */
  cpuCapacity: number;
  cpuUsed: number;
  memoryCapacity: number;
  memoryUsed: number;
  /** Machines on it, before this one. */
  machines: number;
  /** What the machine adds. */
  cpus: number;
  memory: number;
  /** Measured, in percent; NaN where nothing was measured. */
  cpuPercent: number;
  memoryPercent: number;
  powerPercent: number;
  /** What it draws at evenly spaced loads from idle to full. */
  watts: readonly number[];
}

/** What a policy may look at besides the host. */
export interface ScoringWorld {
  /** The machine's, 0 … 1000. */
  readonly priority: number;
  /** Of all hosts that the machine may use as far as their capacity is not asked. O(hosts) for the first that asks. */
  readonly headroom: () => Headroom;
}

export interface HostScorer {
  /**
   * Higher is better. `figures` is reused between calls: do not keep it.
   * @param floor a score that is to be beaten: anything below it may be answered as soon as it is sure that the score is below it
   */
  readonly score: (figures: HostFigures, floor: number) => number;
  /** The named terms of the score, for explanations. */
  readonly parts: (figures: HostFigures) => Readonly<Record<string, number>>;
}

export interface ScoringPolicy {
  readonly name: PlacementPolicyName;
  /** One sentence for people. */
  readonly summary: string;
  /** Made once a decision. */
  readonly scorer: (world: ScoringWorld) => HostScorer;
}

/** Share of `capacity` in use, 0 … ; a host without capacity counts as full. */
export const share = (used: number, capacity: number): number => (capacity > 0 ? used / capacity : 1);

/** With the machine on it. */
export const cpuShare = (figures: HostFigures): number => share(figures.cpuUsed + figures.cpus, figures.cpuCapacity);
export const memoryShare = (figures: HostFigures): number => share(figures.memoryUsed + figures.memory, figures.memoryCapacity);
export const fullerShare = (figures: HostFigures): number => Math.max(cpuShare(figures), memoryShare(figures));
