/** Hosts: maintenance, joining, removal. */
import { HostSpec, Name, Reference } from "@sheaf/model";
import { z } from "zod";
import { UpgradeOptions, upgradeCheck } from "./agent-upgrades.ts";
import { Accepted, IdParams, Nothing, OneQuery, recordSchema } from "./documents.ts";
import { hostDevices } from "./host-device-routes.ts";
import { rankHosts } from "./placement-routes.ts";
import { recordRoutes } from "./record-routes.ts";
import { route } from "./route.ts";

const {
  list,
  get,
  replace,
  change,
  delete: remove,
} = recordRoutes("host", HostSpec, { view: "host.view", create: "host.change", change: "host.change", remove: "host.change" });
const accepted = Accepted(recordSchema("host"));
const verb = <B extends z.ZodType>(name: string, summary: string, body: B) =>
  route({
    name: `host.${name}`,
    method: "POST",
    path: `/hosts/:id/${name}`,
    privilege: "host.maintain",
    summary,
    kind: "host",
    params: IdParams,
    query: OneQuery,
    body,
    output: accepted,
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  });

/** Why, for those who look at it later. */
const PowerReason = z.strictObject({ reason: z.string().min(1).max(200).optional() });

export const hostRoutes = {
  list,
  get,
  replace,
  change,
  delete: remove,
  cordon: verb("cordon", "Take no new machines", Nothing),
  drain: verb(
    "drain",
    "Move every machine away and take no new ones",
    z.strictObject({ maximumParallelMigrations: z.int().min(1).max(32).optional() }),
  ),
  maintain: verb(
    "maintain",
    "Put into maintenance: as drain, and what moved away comes back when the host is activated",
    z.strictObject({
      maximumParallelMigrations: z.int().min(1).max(32).optional(),
      /** Begin although machines cannot move, or the cluster would be too full. */
      force: z.boolean().default(false),
    }),
  ),
  maintenanceCheck: route({
    name: "host.maintenanceCheck",
    method: "GET",
    path: "/hosts/:id/maintenance-check",
    privilege: "host.maintain",
    summary: "What maintenance of a host would come to, before it is begun",
    kind: "host",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({
      machines: z.int(),
      cannotMove: z.array(z.object({ vm: z.string(), name: z.string(), why: z.string() })),
      /** Promised of what the cluster's other hosts may promise, afterwards. */
      memoryPercent: z.int(),
      cpuPercent: z.int(),
      warnings: z.array(z.string()),
    }),
    errors: ["not-found"],
  }),
  activate: verb(
    "activate",
    "Take machines again; what left for maintenance comes back",
    z.strictObject({
      /** They stay where they are. */
      noReturn: z.boolean().optional(),
    }),
  ),
  rank: rankHosts,
  devices: hostDevices,
  /** Answers the cluster's task. */
  done: route({
    name: "host.done",
    method: "POST",
    path: "/hosts/:id/done",
    privilege: "host.maintain",
    summary: "Say that the work on an emptied host is done, so that its cluster's maintenance goes on",
    kind: "host",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: Accepted(recordSchema("task")),
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  }),
  upgrade: verb("upgrade", "Give the host's agent the version that the server carries; machines run on", UpgradeOptions),
  upgradeCheck: upgradeCheck("host"),
  sleep: verb("sleep", "Put a host without machines to sleep: it is shut down, and woken when it is needed or asked for", PowerReason),
  wake: verb("wake", "Turn a sleeping host on", PowerReason),
  fence: verb("fence", "Cut a lost host's power by its fencing methods, and start its highly available machines elsewhere", Nothing),
  confirmOff: verb("confirm-off", "Say that a lost host is off for certain, so that its highly available machines may start elsewhere", Nothing),
  /** The secret is shown once. `command` is the line to run on the new host. */
  invite: route({
    name: "host.invite",
    method: "POST",
    path: "/host-invitations",
    privilege: "host.change",
    summary: "Make a one-time token with which a new host joins",
    params: Nothing,
    query: Nothing,
    body: z.strictObject({
      cluster: Reference.default("default"),
      name: Name.optional(),
      validForMs: z
        .int()
        .min(60_000)
        .max(7 * 86_400_000)
        .default(3_600_000),
      /** Whether the answer holds `command`; it pins the agent's archive, which is made first where it is missing. */
      line: z.boolean().default(true),
    }),
    output: z.object({ token: z.string(), caFingerprint: z.string(), expiresAt: z.int(), command: z.string().optional() }),
    status: 201,
    errors: ["not-found", "name-taken", "uncertain", "store-full", "internal"],
  }),
  /** Called by the new host's agent: no session, the token is the proof. Answers its certificate. */
  join: route({
    name: "host.join",
    method: "POST",
    path: "/host-joins",
    privilege: "anyone",
    summary: "Join with a one-time token",
    params: Nothing,
    query: Nothing,
    body: z.strictObject({
      token: z.string().max(200),
      certificateRequest: z.string().max(8192),
      hostname: Name,
      machineId: z.string().max(64),
      address: z.string().max(64),
    }),
    output: z.object({ hostId: z.string(), certificate: z.string(), authority: z.string(), agentPort: z.int() }),
    status: 201,
    errors: ["not-allowed", "name-taken", "uncertain", "store-full"],
  }),
};
