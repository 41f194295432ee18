/** What a machine asks of its neighbours: groups that stay together or apart, by host, rack or zone, and whether it disturbs or is disturbed. */
import { z } from "zod";
import { LabelKey, LabelValue, Name } from "./fields.ts";

export const groupExtents = ["host", "rack", "zone"] as const;
/** What machines share or do not share. Racks and zones are those of the hosts' `failureDomain`. */
export type GroupExtent = (typeof groupExtents)[number];

/** Machines of one project that name the same group belong to it, by whichever rule; a rule that is no preference binds all of them. */
export const GroupRule = z
  .strictObject({
    group: Name,
    keep: z.enum(["together", "apart"]),
    within: z.enum(groupExtents).default("host"),
    /** Apart: at most so many machines of the group in one host, rack or zone; absent: 1. */
    limit: z.int().min(1).max(10_000).optional(),
    /** Kept where it can be: it never keeps a machine from starting. */
    preferred: z.boolean().default(false),
  })
  .refine((rule) => rule.limit === undefined || rule.keep === "apart", { path: ["limit"], message: "is for groups that stay apart" });
export type GroupRule = z.infer<typeof GroupRule>;

/** Machines of one project that name the same gang get their hosts all at once, or none does. They wait until `size` of them are there. */
export const Gang = z.strictObject({ name: Name, size: z.int().min(2).max(500) });
export type Gang = z.infer<typeof Gang>;

/** `noisy`: takes more of caches, memory and disks than is its share · `sensitive`: suffers from such neighbours. */
export const Neighbours = z.enum(["noisy", "sensitive"]);
export type Neighbours = z.infer<typeof Neighbours>;

/** What a cluster does about them. Without it they are kept apart as far as that can be. */
export const NeighbourRule = z.strictObject({
  /** Noisy and sensitive machines never share a host. */
  strict: z.boolean().default(false),
  /** Noisy machines on one host at most. */
  noisyPerHost: z.int().min(1).max(1000).optional(),
});
export type NeighbourRule = z.infer<typeof NeighbourRule>;

/** Machines that name a class are promised against these ratios instead of those of the host and the cluster. */
export const MachineClass = z.strictObject({
  cpuOvercommit: z.number().min(1).max(64).optional(),
  memoryOvercommit: z.number().min(1).max(4).optional(),
});
export type MachineClass = z.infer<typeof MachineClass>;

/** A licence that is bound to hosts or counted by them. Machines that name it run only in clusters that have it. */
export const Licence = z.strictObject({
  /** Labels of the hosts it covers; absent: all of the cluster. */
  hosts: z.record(LabelKey, LabelValue).optional(),
  /** Hosts that may carry such machines at the same time. */
  maximumHosts: z.int().min(1).max(100_000).optional(),
  /** Physical cores of the hosts that carry such machines at the same time. */
  maximumCores: z.int().min(1).max(10_000_000).optional(),
});
export type Licence = z.infer<typeof Licence>;
