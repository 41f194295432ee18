/** Figures over time: series of one machine or host, and who has the greatest. */
import { clusterMetricNames, hostMetricNames, type Kind, type MetricKind, Reference, vmMetricNames } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing } from "./documents.ts";
import { route } from "./route.ts";

const names = (known: readonly string[]) =>
  z
    .string()
    .max(2000)
    .transform((text) => [...new Set(text.split(","))])
    .refine((all) => all.every((name) => known.includes(name)), `must be of ${known.join(", ")}, joined by commas`);
const Moment = z.coerce.number().int().min(0).max(8_640_000_000_000_000);
export const Series = z.object({
  /** Time of the first figure, ms since the epoch. */
  from: z.int(),
  /** Time that one figure stands for. */
  stepMs: z.int(),
  /** How finely the figures are kept that it was made of: 10,000, 60,000, 300,000 or 3,600,000. */
  rowMs: z.int(),
  /** By the metric's name; `null` where nothing was measured. */
  values: z.record(z.string(), z.array(z.number().nullable())),
});

const summaries = {
  vm: "A machine's figures over time: CPU, memory, disks, network",
  host: "A host's figures over time: CPU, memory, disks, network",
  cluster: "A cluster's figures over time: its hottest host, how evenly its hosts are used, CPU and memory in use",
} as const;

const series = <K extends Kind & MetricKind>(kind: K, known: readonly string[]) =>
  route({
    name: `${kind}.metrics`,
    method: "GET",
    path: `/${kind}s/:id/metrics`,
    privilege: `${kind}.view`,
    summary: summaries[kind],
    kind,
    params: IdParams,
    query: z.strictObject({
      project: Reference.optional(),
      /** Joined by commas; absent: all. */
      metrics: names(known).optional(),
      /** Ms since the epoch; absent: an hour before `to`. */
      from: Moment.optional(),
      /** Absent: now. */
      to: Moment.optional(),
      /** Time of one figure; absent: some 500 figures. Taken to the next longer that can be had: the answer says which. */
      stepMs: z.coerce.number().int().min(10_000).max(31_536_000_000).optional(),
      /** What one figure is of all in its step: `mean`, `max`, `min`, or a percentile such as `p95`. */
      by: z
        .string()
        .regex(/^(mean|max|min|p([1-9][0-9]?|100))$/, "must be mean, max, min or p1 … p100")
        .default("mean"),
    }),
    body: Nothing,
    output: Series,
    errors: ["not-found"],
  });

const top = <K extends Kind & MetricKind>(kind: K, known: readonly string[]) =>
  route({
    name: `${kind}.top`,
    method: "GET",
    path: `/telemetry/top-${kind}s`,
    privilege: `${kind}.view`,
    summary: `The ${kind === "vm" ? "machines" : "hosts"} with the greatest figures of the last while`,
    kind,
    params: Nothing,
    query: z.strictObject({
      project: Reference.optional(),
      metric: z
        .string()
        .refine((name) => known.includes(name), `must be one of ${known.join(", ")}`)
        .default("cpu"),
      /** The last so many ms, in whole five minutes, above an hour in whole hours: at most a day. */
      windowMs: z.coerce.number().int().min(10_000).max(86_400_000).default(600_000),
      by: z.enum(["mean", "max"]).default("mean"),
      count: z.coerce.number().int().min(1).max(1000).default(10),
    }),
    body: Nothing,
    output: z.object({ items: z.array(z.object({ id: z.string(), name: z.string(), project: z.string().optional(), value: z.number() })) }),
    errors: ["not-found"],
  });

export const vmTelemetry = { metrics: series("vm", vmMetricNames), top: top("vm", vmMetricNames) };
export const hostTelemetry = { metrics: series("host", hostMetricNames), top: top("host", hostMetricNames) };
export const clusterTelemetry = { metrics: series("cluster", clusterMetricNames) };
