/** How evenly a cluster's hosts are used, what would help, and carrying it out. */
import { AdviceCause, ClusterBalancing, RecordId, Reference } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing, OneQuery, recordSchema, WriteQuery } from "./documents.ts";
import { route } from "./route.ts";

const BalanceScore = z.object({
  /** Root mean square distance of the hosts' use (CPU or memory, the larger) from the cluster's level, in percent points. */
  spreadPoints: z.number(),
  hottestPercent: z.number(),
  /** The use of every host, were everything divisible. */
  levelPercent: z.number(),
});

const settings = {
  mode: ClusterBalancing.shape.mode.unwrap(),
  goal: ClusterBalancing.shape.goal.unwrap(),
};

const advice = {
  /** What is accepted or dismissed; absent: nothing is advised. */
  advice: z.string().optional(),
  /** Since when these moves, or others, have been called for without a break; absent: they are shown because somebody asked. */
  since: z.int().optional(),
  /** Why automatic mode does not carry them out now. */
  notNow: z.string().optional(),
  /** What they are for, where it is not how hosts are used: broken rules, or room for a machine that waits. */
  cause: AdviceCause.optional(),
  moves: z.array(
    z.object({
      vm: z.string(),
      name: z.string(),
      from: z.string(),
      fromName: z.string(),
      to: z.string(),
      toName: z.string(),
      reason: z.string(),
      /** Indexes of the moves that must have ended before. */
      after: z.array(z.int()),
    }),
  ),
  /** The task of a plan that is under way. */
  task: z.string().optional(),
};

/** A plan that was carried out, or is. */
const BalancePlan = z.object({
  task: z.string(),
  requestedBy: z.string(),
  at: z.int(),
  endedAt: z.int().optional(),
  state: z.string(),
  before: BalanceScore.optional(),
  promised: BalanceScore.optional(),
  /** When it had ended. */
  measured: BalanceScore.optional(),
  /** Some minutes later, when the mean of the last minutes is all of the time after. */
  settled: BalanceScore.optional(),
  moves: z.array(
    z.object({
      ...{ vm: z.string(), name: z.string(), from: z.string(), fromName: z.string(), to: z.string(), toName: z.string() },
      reason: z.string(),
      state: z.enum(["waiting", "moving", "moved", "left"]),
      /** Why it was left, or waits. */
      why: z.string().optional(),
      begunAt: z.int().optional(),
    }),
  ),
});

export const balanceRoutes = {
  balance: route({
    name: "cluster.balance",
    method: "GET",
    path: "/clusters/:id/balance",
    privilege: "cluster.view",
    summary: "How evenly its hosts are used in the mean of the last minutes, and which moves would help",
    kind: "cluster",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({
      ...settings,
      /** Now. */
      score: BalanceScore,
      /** Each host at its busiest within the hours to come; absent: too little is known of them. */
      expected: BalanceScore.optional(),
      /** What the moves were thought out for. */
      before: BalanceScore,
      hosts: z.array(z.object({ host: z.string(), name: z.string(), cpuPercent: z.number(), memoryPercent: z.number() })),
      /** Hosts whose use is not known: nothing is moved from or to them. */
      unknown: z.array(z.string()),
      /** Hosts that the moves would free, by name: goal `consolidate`. */
      frees: z.array(z.string()),
      /** What the moves would come to. */
      promised: BalanceScore,
      ...advice,
    }),
    errors: ["not-found", "state-refused"],
  }),
  carryOutBalance: route({
    name: "cluster.carryOutBalance",
    method: "POST",
    path: "/clusters/:id/balance",
    privilege: "host.maintain",
    summary: "Carry out what is advised, by live migrations",
    kind: "cluster",
    params: IdParams,
    query: OneQuery,
    /** What was read: other moves are not carried out, and refused where the cluster is not what it was. Absent: what is advised now. */
    body: z.strictObject({ advice: RecordId.optional() }),
    output: z.object({ record: recordSchema("cluster"), task: z.string() }),
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  }),
  advice: route({
    name: "cluster.advice",
    method: "GET",
    path: "/clusters/:id/advice",
    privilege: "cluster.view",
    summary: "Which moves are advised, since when, and which were dismissed",
    kind: "cluster",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({
      ...settings,
      score: BalanceScore.optional(),
      /** What the moves were thought out for: the hours to come counted. */
      before: BalanceScore.optional(),
      promised: BalanceScore.optional(),
      ...advice,
      /** Of machines that are where they were then. */
      dismissed: z.array(
        z.object({
          vm: z.string(),
          name: z.string(),
          from: z.string(),
          fromName: z.string(),
          by: z.string(),
          at: z.int(),
          /** Absent: for good. */
          until: z.int().optional(),
        }),
      ),
    }),
    errors: ["not-found"],
  }),
  dismissAdvice: route({
    name: "cluster.dismissAdvice",
    method: "POST",
    path: "/clusters/:id/advice/dismiss",
    privilege: "host.maintain",
    summary: "Leave machines where they are that are advised to move, for a time or for good",
    kind: "cluster",
    params: IdParams,
    query: WriteQuery.omit({ dryRun: true }),
    body: z.strictObject({
      /** What was read; absent: what is advised now. */
      advice: RecordId.optional(),
      /** Only these machines of it, by name or id; absent: all. */
      vms: z.array(Reference).min(1).max(200).optional(),
      /** Absent: for good, as long as the machine is where it is. 0: those that were dismissed may be advised again. */
      forMinutes: z.int().min(0).max(5_256_000).optional(),
    }),
    output: z.object({ record: recordSchema("cluster") }),
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  }),
  balanceHistory: route({
    name: "cluster.balanceHistory",
    method: "GET",
    path: "/clusters/:id/balance/history",
    privilege: "cluster.view",
    summary: "What was moved in it, why, what was promised and what it came to; newest first, as long as tasks are kept",
    kind: "cluster",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({ plans: z.array(BalancePlan) }),
    errors: ["not-found"],
  }),
};
