/** Adoption: what a task with this verb is told, and a domain that Sheaf did not make as its host's agent describes it. */
import { z } from "zod";
import type { VmSpec } from "./vm.ts";

/** Of a task whose target is the host. `project` is an id; `number` was drawn for the machine to be. */
export const AdoptionParameters = z.looseObject({
  uuid: z.string(),
  name: z.string(),
  project: z.string(),
  number: z.int(),
  acceptLosses: z.boolean(),
});
export type AdoptionParameters = z.infer<typeof AdoptionParameters>;

export interface AdoptableDomain {
  readonly domainName: string;
  /** Disks come without volume. */
  readonly spec: VmSpec;
  /** In the order of the spec's disks. */
  readonly disks: readonly { readonly name: string; readonly path: string; readonly format: "qcow2" | "raw"; readonly sizeBytes: number }[];
  /** What the guest's agent says. */
  readonly addresses: readonly string[];
  /** What is not taken over, for people. */
  readonly notes: readonly string[];
}
