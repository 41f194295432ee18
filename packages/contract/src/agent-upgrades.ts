/** What the upgrades of one host's agent and of a cluster's have in common. */
import { z } from "zod";
import { IdParams, Nothing, OneQuery } from "./documents.ts";
import { route } from "./route.ts";

export const UpgradeOptions = z.strictObject({
  /** How long an agent must stay connected, and its machines as they were, before it counts as through; absent: 15 s. */
  settleMs: z.int().min(1000).max(3_600_000).optional(),
});

/** What the server carries, and what an upgrade to it would do with each host. */
export const upgradeCheck = (kind: "host" | "cluster") =>
  route({
    name: `${kind}.upgradeCheck`,
    method: "GET",
    path: `/${kind}s/:id/upgrade-check`,
    privilege: "host.maintain",
    summary: "What an upgrade of agents would come to, before it is begun",
    kind,
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({
      version: z.string(),
      hosts: z.array(
        z.object({
          name: z.string(),
          version: z.string().optional(),
          does: z.enum(["upgrade", "nothing", "leave-out"]),
          why: z.string().optional(),
        }),
      ),
    }),
    errors: ["not-found", "state-refused"],
  });
