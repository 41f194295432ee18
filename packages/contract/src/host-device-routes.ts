/** The devices of a host that machines may get for themselves, and who has them. */
import { HostGpuSlices } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing, OneQuery } from "./documents.ts";
import { route } from "./route.ts";

const holders = z.array(
  z.object({
    vm: z.string(),
    name: z.string(),
    /** Thousandths of it, where it is a slice. */
    milli: z.int().optional(),
  }),
);

export const HandedOut = z.object({
  gpus: z.array(
    z.object({
      address: z.string(),
      model: z.string(),
      memoryBytes: z.int().optional(),
      numaCell: z.int().optional(),
      /** Handed out as a whole. */
      whole: z.boolean(),
      /** What it is divided in on demand. */
      slices: z.array(HostGpuSlices),
      /** Why nothing of it is handed out. */
      refusal: z.string().optional(),
      /** Thousandths that are left of it, as it is divided now. */
      idleMilli: z.int(),
      holders,
    }),
  ),
  pciDevices: z.array(
    z.object({
      address: z.string(),
      vendor: z.string(),
      product: z.string(),
      class: z.string(),
      label: z.string().optional(),
      refusal: z.string().optional(),
      holders,
    }),
  ),
});
export type HandedOut = z.infer<typeof HandedOut>;

export const hostDevices = route({
  name: "host.devices",
  method: "GET",
  path: "/hosts/:id/devices",
  privilege: "host.view",
  summary: "GPUs of a host and the PCI devices it offers to machines: what can be handed out, why not, and who has it",
  kind: "host",
  params: IdParams,
  query: OneQuery,
  body: Nothing,
  output: HandedOut,
  errors: ["not-found"],
});
