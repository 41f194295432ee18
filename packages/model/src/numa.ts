/**
 * Where in its host a machine's vCPUs and memory lie: NUMA cells, and physical CPUs of its own. Asked for by `cpu.placement`, decided by the
 * scheduler, kept in the machine's placement, applied by its host's agent.
 */
import { z } from "zod";
import { Bytes } from "./fields.ts";

/**
 * `floating`: over the whole host · `cell`: within one NUMA cell, whose memory it has too · `dedicated`: each vCPU has a physical CPU that
 * nobody else's vCPU runs on. Absent: into one cell where it fits, else spread over as few as possible, and floating where neither goes.
 */
export const CpuPlacement = z.enum(["floating", "cell", "dedicated"]);
export type CpuPlacement = z.infer<typeof CpuPlacement>;

/** What a machine has of one NUMA cell of its host. */
export const PlacementCell = z.looseObject({
  /** Number of the cell on the host. */
  cell: z.int().min(0),
  /** Of the most that it may have (`cpu.maximum`): those plugged in later have their place already. */
  vcpus: z.int().min(0),
  memoryBytes: Bytes,
  /** Its memory comes from huge pages of this size. */
  pageBytes: Bytes.optional(),
  /** The physical CPU of each of these vCPUs, in order: nobody else's. Absent: they float over those CPUs of the cell that are nobody's own. */
  cpus: z.array(z.int().min(0)).optional(),
});
export type PlacementCell = z.infer<typeof PlacementCell>;

export const NumaPlacement = z.looseObject({
  /** vCPUs are counted through in this order. The same cell may be there twice: two cells of the guest lie in it. */
  cells: z.array(PlacementCell).min(1),
  /** The guest is shown each of these as a NUMA cell of its own. False: it sees one. */
  guestCells: z.boolean(),
});
export type NumaPlacement = z.infer<typeof NumaPlacement>;
