/** A storage pool: where volumes lie. `local`: a directory on each host; `shared`: one directory that several hosts see. Parts: `spec` operators · `status/hosts/<hostId>` that host's agent. */
import { z } from "zod";
import { AbsolutePath, Bytes, Reference } from "./fields.ts";

export const PoolSpec = z.strictObject({
  type: z.enum(["local", "shared"]),
  path: AbsolutePath,
  /** Hosts that have it; absent: all. */
  hosts: z.array(Reference).max(5000).optional(),
  /** Virtual size promised ÷ capacity. */
  overcommit: z.number().min(1).max(100).default(4),
  /** Below this share of free space new volumes are refused. */
  minimumFreeRatio: z.number().min(0).max(0.9).default(0.05),
  /** Share of the capacity that cached images may take, in each directory: beyond it those go that no disk is based on, the longest unused first. */
  imageCacheRatio: z.number().min(0).max(1).default(0.2),
});
export type PoolSpec = z.infer<typeof PoolSpec>;

export const PoolOnHost = z.looseObject({
  state: z.enum(["ready", "failed"]),
  capacityBytes: Bytes,
  availableBytes: Bytes,
  /** Why it failed, and what to do. */
  problem: z.string().optional(),
});
export type PoolOnHost = z.infer<typeof PoolOnHost>;
export interface PoolStatus {
  readonly hosts?: Readonly<Record<string, PoolOnHost>>;
}
