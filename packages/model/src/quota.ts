/** What one record counts against its project's quota. Added in the transaction that makes or changes the record, taken off in the one that removes it. */
import { z } from "zod";
import type { Quota } from "./identity.ts";
import type { Kind } from "./record.ts";
import type { VmSpec } from "./vm.ts";
import type { VolumeSpec } from "./volume.ts";

/** The value under `quotaUsageKey`: kept only for projects that have limits. */
export const QuotaUsage = z.looseObject({ vms: z.int(), vcpus: z.int(), memoryBytes: z.int(), diskBytes: z.int(), images: z.int() });
export type QuotaUsage = Record<keyof Quota, number>;

export const noUsage: QuotaUsage = { vms: 0, vcpus: 0, memoryBytes: 0, diskBytes: 0, images: 0 };

/** Machines count with what they may grow to live (`maximum`, `maximumBytes`); volumes with their virtual size. */
export function quotaUsageOf(kind: Kind, spec: unknown): QuotaUsage {
  switch (kind) {
    case "vm": {
      const { cpu, memory } = spec as VmSpec; // the caller hands the spec of a record of this kind
      return { ...noUsage, vms: 1, vcpus: cpu.maximum ?? cpu.count, memoryBytes: memory.maximumBytes ?? memory.bytes };
    }
    case "volume":
      return { ...noUsage, diskBytes: (spec as VolumeSpec).sizeBytes }; // as above
    case "image":
      return { ...noUsage, images: 1 };
    default:
      return noUsage;
  }
}

/** `factor` 1 adds, −1 takes off; never below zero, so that one miscount cannot give a project more than its quota for ever. */
export function addUsage(usage: QuotaUsage, change: QuotaUsage, factor: 1 | -1 = 1): QuotaUsage {
  const sum = (field: keyof QuotaUsage) => Math.max(0, usage[field] + factor * change[field]);
  return { vms: sum("vms"), vcpus: sum("vcpus"), memoryBytes: sum("memoryBytes"), diskBytes: sum("diskBytes"), images: sum("images") };
}
