/** Why a machine is where it is, where one would go, and how many more would fit: asked of the scheduler, nothing is changed. */
import { Bytes, PlacementPolicyName, Reference } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing, OneQuery } from "./documents.ts";
import { route } from "./route.ts";

export const RankedHosts = z.array(
  z.object({
    host: z.string(),
    name: z.string(),
    fits: z.boolean(),
    /** What it would look like afterwards; or all that rules it out. */
    reasons: z.array(z.string()),
    /** Higher is better; only where it fits. */
    score: z.number().optional(),
    /** Terms of the score. */
    parts: z.record(z.string(), z.number()).optional(),
  }),
);

/** A machine that nobody has made yet. */
const asked = {
  cpus: z.coerce.number().int().min(1).max(4096).default(1),
  memoryBytes: z.coerce.number().pipe(Bytes),
  cluster: Reference.optional(),
  /** Instead of the cluster's. */
  policy: PlacementPolicyName.optional(),
};

export const explainVm = route({
  name: "vm.explain",
  method: "GET",
  path: "/vms/:id/explanation",
  privilege: "vm.view",
  summary: "Why a machine is where it is, and why not elsewhere: every host with its score or its reasons, as of now",
  kind: "vm",
  params: IdParams,
  query: OneQuery,
  body: Nothing,
  output: z.object({
    policy: z.string(),
    /** Id of the host it has; absent: none yet. */
    host: z.string().optional(),
    /** What was said when it was given that host; or why it waits. */
    reason: z.string(),
    /** What of that host it has for itself: `GPU 0000:41:00.0 (A10)`. */
    devices: z.string().optional(),
    hosts: RankedHosts,
  }),
  errors: ["not-found"],
});

export const rankHosts = route({
  name: "host.rank",
  method: "GET",
  path: "/host-ranking",
  privilege: "host.view",
  summary: "Rank all hosts for a machine of that size, with scores and reasons",
  params: Nothing,
  query: z.strictObject(asked),
  body: Nothing,
  output: z.object({ policy: z.string(), hosts: RankedHosts }),
  errors: ["not-found"],
});

export const planRoutes = {
  create: route({
    name: "plan.create",
    method: "GET",
    path: "/plans/creation",
    privilege: "host.view",
    summary: "What creating machines of that size would come to: how many fit, and where",
    params: Nothing,
    query: z.strictObject({ ...asked, count: z.coerce.number().int().min(1).max(1000).default(1) }),
    body: Nothing,
    output: z.object({
      placed: z.int(),
      hosts: z.array(z.object({ host: z.string(), name: z.string(), machines: z.int() })),
      /** Why not all. */
      refusal: z.string().optional(),
    }),
    errors: ["not-found"],
  }),
};
