/** Machines: the five common routes and the verbs. */
import { Name, Reference, VmSpec } from "@sheaf/model";
import { z } from "zod";
import { Accepted, IdParams, Nothing, OneQuery, recordSchema } from "./documents.ts";
import { recordRoutes } from "./record-routes.ts";
import { explainVm, RankedHosts } from "./placement-routes.ts";
import { route } from "./route.ts";

const accepted = Accepted(recordSchema("vm"));
const verb = <B extends z.ZodType>(
  name: string,
  summary: string,
  body: B,
  privilege: "vm.operate" | "vm.migrate" | "vm.create" | "vm.adopt" = "vm.operate",
) =>
  route({
    name: `vm.${name}`,
    method: "POST",
    path: `/vms/:id/${name}`,
    privilege,
    summary,
    kind: "vm",
    params: IdParams,
    query: OneQuery,
    body,
    output: accepted,
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "host-unreachable", "no-capacity", "name-taken", "quota-exceeded", "uncertain", "store-full"],
  });

export const vmRoutes = {
  ...recordRoutes("vm", VmSpec, { view: "vm.view", create: "vm.create", change: "vm.change", remove: "vm.delete" }),
  start: verb("start", "Start a machine", Nothing),
  /** ACPI first, then power off after the grace time. */
  stop: verb("stop", "Shut a machine down", z.strictObject({ graceMs: z.int().min(0).max(3_600_000).optional() })),
  forceOff: verb("force-off", "Cut a machine's power", Nothing),
  reboot: verb("reboot", "Restart the guest's operating system", Nothing),
  reset: verb("reset", "Press the reset button", Nothing),
  pause: verb("pause", "Stop the guest's CPUs", Nothing),
  resume: verb("resume", "Let a paused guest go on", Nothing),
  clone: verb("clone", "Copy a stopped machine with its disks", z.strictObject({ name: Name, clone: z.enum(["full"]).default("full") }), "vm.create"),
  migrate: verb(
    "migrate",
    "Move a running machine to another host without stopping it",
    z.strictObject({
      /** Absent: the best host. */
      host: Reference.optional(),
      bandwidthBytesPerSecond: z
        .int()
        .min(0)
        .max(2 ** 40)
        .optional(),
      maximumDowntimeMs: z.int().min(1).max(30_000).optional(),
      autoConverge: z.boolean().optional(),
      postCopy: z.boolean().optional(),
      /** Given up, the guest running on at the source, after this long. */
      deadlineMs: z.int().min(1000).max(86_400_000).default(3_600_000),
    }),
    "vm.migrate",
  ),
  /** Would each verb and target be allowed now? The same table as everywhere (model/vm-state). */
  targets: route({
    name: "vm.targets",
    method: "GET",
    path: "/vms/:id/targets",
    privilege: "vm.view",
    summary: "Rank the hosts a machine could run on, with reasons",
    kind: "vm",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({ hosts: RankedHosts }),
    errors: ["not-found"],
  }),
  explain: explainVm,
};

export const adoptVm = route({
  name: "vm.adopt",
  method: "POST",
  path: "/hosts/:id/unmanaged/:uuid/adopt",
  privilege: "vm.adopt",
  summary: "Take over a domain that Sheaf did not make, without stopping it",
  kind: "vm",
  params: z.strictObject({ id: Reference, uuid: z.uuid() }),
  query: OneQuery,
  body: z.strictObject({
    name: Name,
    acceptLosses: z
      .boolean()
      .default(false)
      .describe("take it although it has parts that Sheaf cannot carry: media are ejected at once, the rest is gone after the next start"),
  }),
  output: z.object({ task: z.string() }),
  status: 202,
  errors: ["not-found", "state-refused", "host-unreachable", "name-taken"],
});
