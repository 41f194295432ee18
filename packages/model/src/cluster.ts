/**
 * A cluster: hosts with one CPU baseline, shared storage and networks: the limits of live migration. Parts: `spec` operators · `status/baseline`
 * the baseline controller · `status/advice` the balancing controller · `status/dismissals` users, through the API.
 */
import { z } from "zod";
import type { ClusterAdvice, ClusterDismissals } from "./cluster-advice.ts";
import { Labels, Name, Timestamp } from "./fields.ts";
import { defaultPlacementPolicy, PlacementPolicy } from "./placement-policy.ts";
import { Licence, MachineClass, NeighbourRule } from "./placement-rules.ts";
import { TimeWindow } from "./time-window.ts";

export const CpuModel = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, "must be a CPU model that libvirt knows, such as qemu64 or Skylake-Server");

export const ClusterBalancing = z.strictObject({
  /** `advise`: what would help is shown, and carried out on a person's word · `automatic`: it is carried out. */
  mode: z.enum(["off", "advise", "automatic"]).default("advise"),
  /**
   * `hot-spots`: only hosts above `hotPercent` are relieved · `even`: all hosts come near the cluster's mean · `consolidate`: hot spots are
   * relieved, and where none is, machines are put together on few hosts, so that others come free.
   */
  goal: z.enum(["hot-spots", "even", "consolidate"]).default("hot-spots"),
  /** Use of CPU or memory, the larger of both, above which a host is a hot spot; no move brings a host above it. */
  hotPercent: z.int().min(10).max(100).default(85),
  /** Goal `even`, `automatic`: what hosts are off the cluster's level, in percent points (root mean square), before anything is moved. */
  unevenPoints: z.int().min(1).max(50).default(10),
  /** `automatic`: it must have been so for so long. */
  patienceMinutes: z.int().min(0).max(1440).default(5),
  /** `automatic`: from the end of one plan to the begin of the next; a machine that has moved stays for so long. */
  pauseMinutes: z.int().min(0).max(10_080).default(30),
  /** Moves of one plan. */
  maximumMoves: z.int().min(1).max(200).default(20),
  /** So far ahead hosts must not be hot either, by what machines used at these hours of the days and weeks before; 0: only the present counts. */
  forecastHours: z.int().min(0).max(48).default(24),
  /** A machine that has moved, by whomever, stays for so long; absent: `pauseMinutes`. */
  machineCooldownMinutes: z.int().min(0).max(43_200).optional(),
  /** Moves that balancing begins in any hour; absent: no limit. */
  movesPerHour: z.int().min(1).max(10_000).optional(),
  /** The same of those that one host takes part in, as source or target. */
  movesPerHostPerHour: z.int().min(1).max(1000).optional(),
  /** `automatic`: moves begin only within one of these; none: at any time. */
  windows: z.array(TimeWindow).max(16).default([]),
  /** Machines that carry all labels of one of these are never moved. */
  settledLabels: z.array(Labels).max(16).default([]),
});
export type ClusterBalancing = z.infer<typeof ClusterBalancing>;

/** Hosts without machines that sleep (are powered off) until they are needed. */
export const ClusterPower = z.strictObject({
  /** `automatic`: hosts that have no machines are put to sleep, and sleeping ones woken before they are needed · `off`: by hand alone. */
  mode: z.enum(["off", "automatic"]).default("off"),
  /** So many hosts stay awake beyond those that the machines need. */
  spareHosts: z.int().min(0).max(1000).default(1),
  /** Goal `consolidate` fills no host above this share of CPU or memory in use; must leave room below `hotPercent`, which wakes a host. */
  targetPercent: z.int().min(10).max(100).default(80),
  /** A host that woke stays awake for so long, one that fell asleep asleep: unless it is needed at once. */
  minimumAwakeMinutes: z.int().min(0).max(10_080).default(30),
  minimumAsleepMinutes: z.int().min(0).max(1440).default(10),
  /** A woken host must have joined again after so long; else it is reported, and another one is woken. */
  wakeMinutes: z.int().min(1).max(120).default(10),
});
export type ClusterPower = z.infer<typeof ClusterPower>;

export const ClusterSpec = z.strictObject({
  /** What machines get that ask for `cluster-baseline`. `auto`: the newest model that every host in the cluster carries. */
  cpuBaseline: z.union([z.literal("auto"), CpuModel]).default("auto"),
  /** vCPUs promised ÷ CPUs offered. */
  cpuOvercommit: z.number().min(1).max(64).default(8),
  /** Memory promised ÷ memory offered. */
  memoryOvercommit: z.number().min(1).max(4).default(1),
  /** How a host is chosen among those that fit: a policy's name, or several with weights. A machine may have its own. */
  placementPolicy: PlacementPolicy.default(defaultPlacementPolicy),
  /** By name: overcommit ratios of machines with that `placement.class`. */
  machineClasses: z.record(Name, MachineClass).optional(),
  neighbours: NeighbourRule.optional(),
  /** By name: what machines with it in `placement.licences` may use. */
  licences: z.record(Name, Licence).optional(),
  /** Whether preemptible machines give way here to more important ones that fit nowhere. */
  preemption: z.enum(["on", "off"]).optional().describe("absent: on"),
  highAvailability: z
    .strictObject({
      /** How soon a silent host counts as lost (reference: high availability). `fast` wants a quiet network. */
      detection: z.enum(["default", "fast"]).default("default"),
      /** When more than this share of the cluster's hosts is silent at once (and more than one), nothing is fenced without a person. */
      wideOutagePercent: z.int().min(1).max(100).default(40),
      /** Failures of hosts that the cluster is to survive: room for the machines of so many hosts is kept free. */
      toleratedHostFailures: z.int().min(0).max(64).default(0),
      /** The same as a share of the cluster's hosts, rounded up; the larger of both counts. */
      toleratedHostFailurePercent: z.int().min(0).max(100).default(0),
      /** Refuses new highly available machines that would use that room; otherwise it is only shown. */
      enforceAdmission: z.boolean().default(false),
    })
    .prefault({}),
  balancing: ClusterBalancing.prefault({}),
  power: ClusterPower.prefault({}),
  migration: z
    .strictObject({
      /** Bytes/s a migration may use; 0: no limit. */
      bandwidthBytesPerSecond: z
        .int()
        .min(0)
        .max(2 ** 40)
        .default(0),
      maximumDowntimeMs: z.int().min(1).max(30_000).default(300),
      autoConverge: z.boolean().default(true),
      postCopy: z.boolean().default(false),
    })
    .prefault({}),
});
export type ClusterSpec = z.infer<typeof ClusterSpec>;

/** What `cpuBaseline: auto` means now. Stays as it is while hosts are merely unreachable. */
export const ClusterBaseline = z.looseObject({ model: CpuModel, reason: z.string(), hosts: z.int(), at: Timestamp });
export type ClusterBaseline = z.infer<typeof ClusterBaseline>;
export interface ClusterStatus {
  readonly baseline?: ClusterBaseline;
  readonly advice?: ClusterAdvice;
  readonly dismissals?: ClusterDismissals;
}

/** The CPU model of machines that ask for `cluster-baseline`. `qemu64` runs everywhere QEMU does: until the hosts have reported. */
export const clusterCpuModel = (spec: ClusterSpec, status: ClusterStatus): string =>
  spec.cpuBaseline === "auto" ? (status.baseline?.model ?? "qemu64") : spec.cpuBaseline;
