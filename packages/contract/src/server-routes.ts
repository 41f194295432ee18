/** The servers that share one store: who they are, how one more joins, how one leaves. */
import { Name } from "@sheaf/model";
import { z } from "zod";
import { Nothing } from "./documents.ts";
import { route } from "./route.ts";

export const serverRoutes = {
  list: route({
    name: "server.list",
    method: "GET",
    path: "/servers",
    privilege: "host.view",
    summary: "Servers on this store: which are there, and which leads",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    output: z.object({
      servers: z.array(
        z.object({
          name: z.string(),
          url: z.string(),
          agentUrl: z.string(),
          version: z.string(),
          present: z.boolean(),
          leads: z.boolean(),
          agents: z.int().min(0).optional().describe("Hosts whose agents are connected to it; absent while it is not reached"),
        }),
      ),
    }),
    errors: ["unavailable"],
  }),
  /** The secret is shown once. `command` is the line to run on the new server's machine. */
  invite: route({
    name: "server.invite",
    method: "POST",
    path: "/server-invitations",
    privilege: "system.maintain",
    summary: "Make a one-time token with which one more server joins",
    params: Nothing,
    query: Nothing,
    body: z.strictObject({
      validForMs: z.int().min(60_000).max(86_400_000).default(900_000),
    }),
    output: z.object({ token: z.string(), caFingerprint: z.string(), expiresAt: z.int(), command: z.string() }),
    status: 201,
    errors: ["state-refused", "uncertain", "store-full"],
  }),
  /** Called by the new server: no session, the token is the proof. Answers what all servers of a site share. */
  join: route({
    name: "server.join",
    method: "POST",
    path: "/server-joins",
    privilege: "anyone",
    summary: "Join with a one-time token",
    params: Nothing,
    query: Nothing,
    body: z.strictObject({ token: z.string().max(200), name: Name }),
    output: z.object({
      store: z.string(),
      /** Files of the data folder, base64. */
      files: z.record(z.string(), z.string()),
    }),
    errors: ["not-allowed", "name-taken", "state-refused", "uncertain", "store-full"],
  }),
  delete: route({
    name: "server.delete",
    method: "DELETE",
    path: "/servers/:name",
    privilege: "system.maintain",
    summary: "Forget a server that will not come back; it must not run",
    params: z.strictObject({ name: Name }),
    query: Nothing,
    body: Nothing,
    output: z.object({}),
    errors: ["not-found", "state-refused", "uncertain", "store-full"],
  }),
};
