/** Which size machines need, by what they have used: asked, nothing is changed. To follow it, the machine's spec is changed. */
import { Reference, sizeVerdicts } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing, OneQuery } from "./documents.ts";
import { route } from "./route.ts";

const Size = z.object({ cpus: z.int(), memoryBytes: z.int() });
const Effect = z.enum(["now", "next-start", "nothing"]);
const Verdict = z.enum(sizeVerdicts);

export const SizeAdvice = z.object({
  id: z.string(),
  name: z.string(),
  /** Project's id. */
  project: z.string().optional(),
  /** `unknown`: there are too few figures. */
  verdict: Verdict,
  /** Its label `right-sizing` says that nothing is to be advised. */
  dismissed: z.boolean(),
  given: Size,
  /** The same where nothing is to be changed; of an idle machine what it could live on, if it is to stay. */
  suggested: Size,
  /** What following it gives back, of an idle machine all of it; less than nothing where it needs more. In percent of what its cluster can promise. */
  saving: Size.extend({ cpuPercent: z.number(), memoryPercent: z.number() }),
  /** When a change would take effect. */
  effect: z.object({ cpus: Effect, memory: Effect }),
  /** By the days of figures. */
  confidence: z.enum(["none", "low", "medium", "high"]),
  /** Of the last fourteen, of which there are figures. */
  days: z.number(),
  /** When it was looked at, ms since the epoch. */
  at: z.int(),
  /** Sentences for people. */
  reasons: z.array(z.string()),
  risks: z.array(z.string()),
});

export const rightSizingRoutes = {
  advice: route({
    name: "vm.advice",
    method: "GET",
    path: "/vms/:id/advice",
    privilege: "vm.view",
    summary: "Which size a machine needs, by what it has used in the last fourteen days, and why",
    kind: "vm",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: SizeAdvice,
    errors: ["not-found", "unavailable"],
  }),
  listAdvice: route({
    name: "vm.listAdvice",
    method: "GET",
    path: "/right-sizing/vms",
    privilege: "vm.view",
    summary: "Machines that are too small, too large or idle: first those that need more, then those that give most back",
    kind: "vm",
    params: Nothing,
    query: z.strictObject({
      project: Reference.optional(),
      cluster: Reference.optional(),
      /** Absent: all that are not `right` or `unknown`. */
      verdict: Verdict.optional(),
      /** With those whose label `right-sizing` says that nothing is to be advised. */
      dismissed: z.stringbool().default(false),
      skip: z.coerce.number().int().min(0).max(1_000_000).default(0),
      count: z.coerce.number().int().min(1).max(1000).default(100),
    }),
    body: Nothing,
    output: z.object({
      items: z.array(SizeAdvice),
      /** Of all pages. */
      total: z.int(),
      /** Machines that were looked at since the server started, and those that wait for it. */
      looked: z.int(),
      waiting: z.int(),
      verdicts: z.object({ idle: z.int(), "too-large": z.int(), "too-small": z.int(), right: z.int(), unknown: z.int() }),
      /** Of all pages. */
      saving: Size,
    }),
    errors: ["not-found", "unavailable"],
  }),
};
