/** The NUMA cells of a host, with what is booked in each and for which machine. */
import { Bytes } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing, OneQuery } from "./documents.ts";
import { route } from "./route.ts";

/** What a machine has of a cell. */
const CellMachine = z.object({
  vm: z.string(),
  name: z.string(),
  vcpus: z.int(),
  memoryBytes: Bytes,
  /** Its memory comes from huge pages of this size. */
  pageBytes: Bytes.optional(),
  /** The physical CPUs that are its own; absent: it floats over those that are nobody's. */
  cpus: z.array(z.int()).optional(),
});

export const HostCells = z.object({
  cells: z.array(
    z.object({
      cell: z.int(),
      cpus: z.array(
        z.object({
          cpu: z.int(),
          /** Those on the same core, itself not counted. */
          siblings: z.array(z.int()),
          /** Kept back for the host: never anybody's own. */
          keptBack: z.boolean(),
          /** Name of the machine whose own it is. */
          machine: z.string().optional(),
        }),
      ),
      /** vCPUs that share the CPUs that are nobody's own. */
      sharedVcpus: z.int(),
      /** Ordinary memory that may be promised in this cell, and what is. */
      memoryCapacityBytes: z.number(),
      memoryUsedBytes: z.number(),
      hugepages: z.array(z.object({ sizeBytes: Bytes, count: z.int(), used: z.int() })),
      machines: z.array(CellMachine),
    }),
  ),
  /** Machines on this host that are bound to none of its cells. */
  floating: z.array(z.object({ vm: z.string(), name: z.string(), vcpus: z.int(), memoryBytes: Bytes })),
});
export type HostCells = z.infer<typeof HostCells>;

export const hostNuma = {
  numa: route({
    name: "host.numa",
    method: "GET",
    path: "/hosts/:id/numa",
    privilege: "host.view",
    summary: "The NUMA cells of a host: their CPUs and memory, and which machines have what of them",
    kind: "host",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: HostCells,
    errors: ["not-found"],
  }),
};
