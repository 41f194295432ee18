/** What a scoring policy is. One file each under policies/; `policies` is the registry that settings choose from by name. */
import type { PlacementPolicyName } from "@sheaf/model";
import type { Headroom } from "./headroom.ts";
import type { HostTable } from "./host-table.ts";

/** What a policy may look at: columns by host's slot, without what the machine takes on a host already. */
export interface ScoringWorld {
  /** vCPUs that may be promised, and those that are, before this machine. */
  readonly cpuCapacity: Float64Array;
  readonly cpuUsed: Float64Array;
  /** Huge pages count with ordinary memory: they are one resource in the scores. */
  readonly memoryCapacity: Float64Array;
  readonly memoryUsed: Float64Array;
  /** What the machine adds. */
  readonly cpus: number;
  readonly memory: number;
  /** Its priority, 0 … 1000. */
  readonly priority: number;
  /** Of all hosts that the machine may use as far as their capacity is not asked. O(hosts) for the first that asks. */
  readonly headroom: () => Headroom;
  /** What else is known of hosts: machines on them, power, what was measured. */
  readonly table: HostTable;
}

export interface HostScorer {
  /**
   * Higher is better.
   * @param floor a score that is to be beaten: anything below it may be answered as soon as it is sure that the score is below it
   */
  readonly score: (slot: number, floor: number) => number;
  /** The named terms of the score, for explanations. */
  readonly parts: (slot: number) => Readonly<Record<string, number>>;
}

export interface ScoringPolicy {
  readonly name: PlacementPolicyName;
  /** It keeps room for what may come: with it idle GPUs keep the CPU and memory that they are owed. */
  readonly keepsGpuHosts?: boolean;
  /** One sentence for people. */
  readonly summary: string;
  /** Made once a decision. */
  readonly scorer: (world: ScoringWorld) => HostScorer;
}

/** Share of `capacity` in use, 0 … ; a host without capacity counts as full. */
export const share = (used: number, capacity: number): number => (capacity > 0 ? used / capacity : 1);

/** With the machine on it. */
export const cpuShare = (world: ScoringWorld, slot: number): number => share((world.cpuUsed[slot] ?? 0) + world.cpus, world.cpuCapacity[slot] ?? 0);
export const memoryShare = (world: ScoringWorld, slot: number): number =>
  share((world.memoryUsed[slot] ?? 0) + world.memory, world.memoryCapacity[slot] ?? 0);
export const fullerShare = (world: ScoringWorld, slot: number): number => Math.max(cpuShare(world, slot), memoryShare(world, slot));
