/** What one record counts against its project's quota. Added in the transaction that makes or changes the record, taken off in the one that removes it. */
import { formatBytes } from "@sheaf/base";
import { z } from "zod";
import { SheafError } from "./errors.ts";
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

const words: Record<keyof Quota, string> = { vms: "machines", vcpus: "vCPUs", memoryBytes: "memory", diskBytes: "disk space", images: "images" };

export const hasLimits = (project: { readonly spec: { readonly quota: Quota } }): boolean =>
  Object.values(project.spec.quota).some((limit) => limit !== undefined);

/** @returns why a change from `used` to `after` is refused: `quota-exceeded`. `null`: it is not; nor is one that takes no more of what is over its limit already. */
export function quotaRefusal(
  project: { readonly name: string; readonly spec: { readonly quota: Quota } },
  used: QuotaUsage,
  after: QuotaUsage,
): SheafError | null {
  for (const [name, limit] of Object.entries(project.spec.quota)) {
    const field = name as keyof Quota; // the schema has no other members
    if (limit === undefined || after[field] <= limit || after[field] <= used[field]) continue;
    const show = (amount: number): string => (field.endsWith("Bytes") ? formatBytes(amount) : String(amount));
    return new SheafError(
      "quota-exceeded",
      `Project ${project.name} may use ${show(limit)} ${words[field]} and uses ${show(used[field])}; this needs ${show(after[field] - used[field])} more.`,
      { next: "Remove something, ask for less, or ask an administrator for a larger quota." },
    );
  }
  return null;
}
