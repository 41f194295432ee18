/** What the consolidation planner decides on, a compact snapshot of hosts and machines, how careful it is to be, and what it answers. */
import type { PowerCurve } from "./power-curve.ts";

export interface ConsolidationHost {
  readonly id: string;
  /** What its machines may use together, millicores. */
  readonly cpuMillicores: number;
  /** What one of its cores gives, in the same unit: no virtual CPU gets more, and slow cores are told from fast ones. */
  readonly coreMillicores: number;
  /** What its machines may have together. */
  readonly memoryBytes: number;
  readonly powerCurve: PowerCurve;
  readonly state: "awake" | "asleep";
  /** `false`: nothing moves to it, and it neither wakes nor goes to sleep (cordoned, in maintenance, not heard of). */
  readonly usable: boolean;
}

export interface ConsolidationMachine {
  readonly id: string;
  readonly host: string;
  readonly cpus: number;
  /** What it may ask for at most. */
  readonly cpuMillicores: number;
  readonly memoryBytes: number;
  /** CPU that it used or waited for, millicores, one value every `sampleSeconds`, oldest first, up to now. Empty: nothing is known of it. */
  readonly demand: Float64Array;
  /** `false`: it stays where it is (pinned, with a device of the host, moving already, moved not long ago). */
  readonly movable: boolean;
}

export interface ConsolidationOptions {
  readonly sampleSeconds: number;
  /** What the forecast looks back on: half of the level, and all of the spread. */
  readonly windowSamples: number;
  /** The newest samples, which are the other half of the level. */
  readonly recentSamples: number;
  /** A machine that was not seen for long may ask for other than it did: this share of its size is its spread … */
  readonly unseenSpread: number;
  /** … of which half is left (as variance) when so many samples are there. */
  readonly unseenSamples: number;
  /** A host takes a machine while the expected level and so many σ of the sum fit into it. */
  readonly headRoomSigmas: number;
  /** No move brings a target's demand of this moment above this share. */
  readonly targetShare: number;
  /** A host gives machines up when its level and so many σ fit no more: fewer than its head-room, so that calm stays calm … */
  readonly reliefSigmas: number;
  /** … and when more than this share is asked for at this moment. */
  readonly reliefShare: number;
  /** How long the saving of a move is counted. */
  readonly horizonSeconds: number;
  /** What a move costs, as if its disturbance were energy. */
  readonly moveJoules: number;
  readonly moveJoulesPerGib: number;
  /** A host is emptied in one plan or not at all: a budget below the number of its machines leaves it alone. */
  readonly maximumMoves: number;
  /** Hosts without machines that are awake all the same. */
  readonly spareHosts: number;
}

export const consolidationDefaults: ConsolidationOptions = {
  sampleSeconds: 300,
  windowSamples: 24,
  recentSamples: 3,
  unseenSpread: 0.1,
  unseenSamples: 6,
  headRoomSigmas: 2,
  targetShare: 0.95,
  reliefSigmas: 0,
  reliefShare: 0.98,
  horizonSeconds: 7200,
  moveJoules: 20_000,
  moveJoulesPerGib: 1_000,
  maximumMoves: Infinity,
  spareHosts: 1,
};

export interface ConsolidationInput {
  readonly hosts: readonly ConsolidationHost[];
  readonly machines: readonly ConsolidationMachine[];
  /** Whether nothing else stands against a machine on a host: groups, networks, pools, CPU baseline. */
  readonly allowed?: (machineId: string, hostId: string) => boolean;
  readonly options?: Partial<ConsolidationOptions>;
}

export interface ConsolidationMove {
  readonly machine: string;
  readonly from: string;
  readonly to: string;
  readonly cause: "relief" | "emptying";
  readonly reason: string;
  /** Energy saved over the horizon, less what the move costs. Relief may cost: it is done for the machines' sake. */
  readonly gainJoules: number;
}

export interface HostChange {
  readonly host: string;
  readonly reason: string;
}

export interface ConsolidationPlan {
  /** Before the moves. */
  readonly wake: readonly HostChange[];
  /** In this order; after each of them every host that took a machine so far has its head-room. */
  readonly moves: readonly ConsolidationMove[];
  /** After the moves. */
  readonly sleep: readonly HostChange[];
}
