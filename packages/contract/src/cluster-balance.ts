/** How evenly a cluster's hosts are used, what would help, and carrying it out. */
import { ClusterBalancing } from "@sheaf/model";
import { z } from "zod";
import { IdParams, Nothing, OneQuery, recordSchema } from "./documents.ts";
import { route } from "./route.ts";

const BalanceScore = z.object({
  /** Root mean square distance of the hosts' use (CPU or memory, the larger) from the cluster's level, in percent points. */
  spreadPoints: z.number(),
  hottestPercent: z.number(),
  /** The use of every host, were everything divisible. */
  levelPercent: z.number(),
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
      mode: ClusterBalancing.shape.mode.unwrap(),
      goal: ClusterBalancing.shape.goal.unwrap(),
      score: BalanceScore,
      hosts: z.array(z.object({ host: z.string(), name: z.string(), cpuPercent: z.number(), memoryPercent: z.number() })),
      /** Hosts whose use is not known: nothing is moved from or to them. */
      unknown: z.array(z.string()),
      /** Hosts that the moves would free, by name: goal `consolidate`. */
      frees: z.array(z.string()),
      /** What the moves would come to. */
      promised: BalanceScore,
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
    }),
    errors: ["not-found", "state-refused"],
  }),
  carryOutBalance: route({
    name: "cluster.carryOutBalance",
    method: "POST",
    path: "/clusters/:id/balance",
    privilege: "host.maintain",
    summary: "Carry out what is advised now, by live migrations",
    kind: "cluster",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({ record: recordSchema("cluster"), task: z.string() }),
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  }),
};
