/** A cluster: hosts with one CPU baseline, shared storage and networks: the limits of live migration. Written by operators. */
import { z } from "zod";

export const CpuModel = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, "must be a CPU model that libvirt knows, such as qemu64 or Skylake-Server");

export const ClusterSpec = z.strictObject({
  /** What machines get that ask for `cluster-baseline`. `auto`: the newest model that every host in the cluster carries. */
  cpuBaseline: z.union([z.literal("auto"), CpuModel]).default("auto"),
  /** vCPUs promised ÷ CPUs offered. */
  cpuOvercommit: z.number().min(1).max(64).default(8),
  /** Memory promised ÷ memory offered. */
  memoryOvercommit: z.number().min(1).max(4).default(1),
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
export type ClusterStatus = Record<string, never>;
