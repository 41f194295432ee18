/** Why a machine is where it is, where one would go, and how many more would fit: asked of the scheduler, nothing is changed. */
import { Bytes, NumaPlacement, PlacementPolicyName, Reference } from "@sheaf/model";
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
    /** Which NUMA cells and CPUs of that host it would have, where any. */
    numa: NumaPlacement.optional(),
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
    /** The NUMA cells and CPUs that it has there; absent: it floats. */
    numa: NumaPlacement.optional(),
    /** Why it does not have those that it asks for since it was put there. */
    numaRefusal: z.string().optional(),
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

const Outlook = z.object({
  /** That take machines. */
  hosts: z.int(),
  /** Promised of what these may promise. */
  cpuPercent: z.number(),
  memoryPercent: z.number(),
  /** CPU or memory, whichever is more, on the host where it is most; and how far the hosts are from their mean. */
  fullestPercent: z.number(),
  spreadPoints: z.number(),
  /** Memory that may still be promised when the hosts whose loss it is to survive are lost; less than nothing: so much is missing. */
  failOver: z.object({ hosts: z.int(), toleratedHostFailures: z.int(), spareMemoryBytes: z.number() }).optional(),
});
/** Lists of machines are cut off here; the counts are not. */
const namedMachine = { vm: z.string(), name: z.string() };

export const planRoutes = {
  addHosts: route({
    name: "plan.addHosts",
    method: "GET",
    path: "/plans/host-addition",
    privilege: "host.view",
    summary: "What more hosts would come to: which waiting machines get a place, how the cluster stands, and how many more machines fit",
    params: Nothing,
    query: z.strictObject({
      count: z.coerce.number().int().min(1).max(1000).default(1),
      /** A host that they are like; absent: the first of the cluster that takes machines. */
      like: Reference.optional(),
      cluster: Reference.optional(),
      /** Instead of that host's. */
      cpus: z.coerce.number().int().min(1).max(4096).optional(),
      memoryBytes: z.coerce.number().pipe(Bytes).optional(),
      /** Size of the machines whose number is asked for. */
      machineCpus: z.coerce.number().int().min(1).max(4096).optional(),
      machineMemoryBytes: z.coerce.number().pipe(Bytes).optional(),
    }),
    body: Nothing,
    output: z.object({
      cluster: z.string(),
      /** Of one of them. */
      host: z.object({ like: z.string(), cpus: z.int(), memoryBytes: z.int() }),
      before: Outlook,
      after: Outlook,
      placedCount: z.int(),
      placed: z.array(z.object({ ...namedMachine, host: z.string() })),
      waitingCount: z.int(),
      waiting: z.array(z.object({ ...namedMachine, why: z.string() })),
      /** Machines of the size asked for; `more`: there would be room for more than are counted. */
      room: z.object({ before: z.int(), after: z.int(), more: z.boolean() }).optional(),
    }),
    errors: ["not-found", "state-refused"],
  }),
  removeHosts: route({
    name: "plan.removeHosts",
    method: "GET",
    path: "/plans/host-removal",
    privilege: "host.view",
    summary: "What taking hosts away would come to: where each machine would go, which would find no place, and how the rest stands",
    params: Nothing,
    query: z.strictObject({
      /** Names or ids, joined by commas. */
      hosts: z
        .string()
        .max(4000)
        .transform((text) => [...new Set(text.split(","))])
        .refine((all) => all.length <= 64 && all.every((one) => Reference.safeParse(one).success), "must be at most 64 names or ids of hosts"),
    }),
    body: Nothing,
    output: z.object({
      clusters: z.array(z.object({ cluster: z.string(), before: Outlook, after: Outlook })),
      moveCount: z.int(),
      moves: z.array(z.object({ ...namedMachine, from: z.string(), to: z.string() })),
      stuckCount: z.int(),
      stuck: z.array(z.object({ ...namedMachine, from: z.string(), why: z.string() })),
      /** On their way already. */
      moving: z.int(),
    }),
    errors: ["not-found"],
  }),
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
