/**
 * A volume: one virtual disk. Parts: `spec` users · `placement` the placement controller (which host makes and holds it) ·
 * `status/agent` the agent of the host it is placed on.
 */
import { z } from "zod";
import { Bytes, Reference } from "./fields.ts";

export const VolumeSpec = z.strictObject({
  pool: Reference,
  sizeBytes: Bytes.min(2 ** 20, "at least 1 MiB")
    .max(2 ** 46, "at most 64 TiB")
    .refine((size) => size % 512 === 0, "must be a multiple of 512"),
  format: z.enum(["qcow2", "raw"]).default("qcow2"),
  /** What it starts as; absent: empty. `linked` reads unchanged blocks from the image, `full` copies them. */
  source: z
    .union([
      z.strictObject({ image: Reference, clone: z.enum(["linked", "full"]).default("linked") }),
      /** A copy of another volume (of a stopped machine, or detached). */
      z.strictObject({ volume: Reference }),
    ])
    .optional(),
  /**
   * Where its file lies within the pool's directory, of a disk that was there before Sheaf: `images/old.qcow2`. Such a file is never made, only
   * found. Absent: Sheaf's own place. Set by adoption alone.
   */
  file: z.string().max(512).optional(),
  /** Host to keep it on; only for local pools and volumes of no machine. */
  host: Reference.optional(),
  protected: z.boolean().default(false),
});
export type VolumeSpec = z.infer<typeof VolumeSpec>;

/** What must be released before a volume's record goes. */
export const volumeFinalizers = ["file"] as const;

export const VolumeObservation = z.looseObject({
  state: z.enum(["creating", "ready", "failed", "gone"]),
  /** Host that wrote this. */
  host: z.string(),
  path: z.string(),
  sizeBytes: Bytes,
  /** Bytes that really lie on the disk. */
  allocatedBytes: Bytes,
  observedGeneration: z.int(),
  problem: z.string().optional(),
  /** Its file was there once, on whichever host: one that is missing is not made anew. Told with a problem; `ready` says so by itself. */
  existed: z.boolean().optional(),
});
export type VolumeObservation = z.infer<typeof VolumeObservation>;
export interface VolumeStatus {
  readonly agent?: VolumeObservation;
  /** While no host can have it: why. Written by the placement controller. */
  readonly placement?: { readonly pending?: { readonly reason: string; readonly since: number } };
}
