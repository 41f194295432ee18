/** Clusters, pools, volumes, images, networks, tasks, projects, users, roles, tokens, sessions, audit and the system itself. */
import {
  AuditEvent,
  AvailabilitySum,
  ClusterSpec,
  ImageSpec,
  Name,
  NetworkSpec,
  Outage,
  PoolSpec,
  ProjectSpec,
  Quota,
  Reference,
  RoleSpec,
  serviceStates,
  TaskSpec,
  TokenSpec,
  UserSpec,
  VolumeSpec,
} from "@sheaf/model";
import { z } from "zod";
import { UpgradeOptions, upgradeCheck } from "./agent-upgrades.ts";
import { balanceRoutes } from "./cluster-balance.ts";
import { Accepted, IdParams, ListOutput, Nothing, OneQuery, recordSchema } from "./documents.ts";
import { recordRoutes } from "./record-routes.ts";
import { route } from "./route.ts";
import { clusterTelemetry } from "./telemetry-routes.ts";

/** Each answers its task's id, and what was written. */
const rolling = <B extends z.ZodType>(name: string, path: `/${string}`, summary: string, body: B) =>
  route({
    name: `cluster.${name}`,
    method: "POST",
    path: `/clusters/:id${path}`,
    privilege: "host.maintain",
    summary,
    kind: "cluster",
    params: IdParams,
    query: OneQuery,
    body,
    output: z.object({ record: z.union([recordSchema("task"), recordSchema("cluster")]), task: z.string() }),
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  });
export const clusterRoutes = {
  ...recordRoutes("cluster", ClusterSpec, {
    view: "cluster.view",
    create: "cluster.change",
    change: "cluster.change",
    remove: "cluster.change",
  }),
  maintain: rolling(
    "maintain",
    "/maintain",
    "Put its hosts into maintenance, one after the other",
    z.strictObject({
      /** In this order; absent: all, by name. */
      hosts: z.array(Reference).min(1).max(1000).optional(),
    }),
  ),
  upgrade: rolling(
    "upgrade",
    "/upgrade",
    "Give its hosts' agents the version that the server carries, one after the other; machines run on",
    UpgradeOptions.extend({
      /** In this order; absent: all, by name. */
      hosts: z.array(Reference).min(1).max(1000).optional(),
      /** Hosts that may be under way at once. */
      parallel: z.int().min(1).max(32).default(1),
    }),
  ),
  upgradeCheck: upgradeCheck("cluster"),
  ...balanceRoutes,
  ...clusterTelemetry,
  pauseMaintenance: rolling("pauseMaintenance", "/maintain/pause", "Begin with no further host", Nothing),
  resumeMaintenance: rolling("resumeMaintenance", "/maintain/resume", "Go on with the next host", Nothing),
};
export const poolRoutes = recordRoutes("pool", PoolSpec, { view: "pool.view", create: "pool.change", change: "pool.change", remove: "pool.change" });
export const volumeRoutes = recordRoutes("volume", VolumeSpec, {
  view: "volume.view",
  create: "volume.change",
  change: "volume.change",
  remove: "volume.change",
});
export const networkRoutes = recordRoutes("network", NetworkSpec, {
  view: "network.view",
  create: "network.change",
  change: "network.change",
  remove: "network.change",
});
/** The bytes of an uploaded image come by the raw route `PUT /images/:id/content` (resumable by Content-Range). */
export const imageRoutes = recordRoutes("image", ImageSpec, {
  view: "image.view",
  create: "image.change",
  change: "image.change",
  remove: "image.change",
});
export const projectRoutes = {
  ...recordRoutes("project", ProjectSpec, { view: "project.view", create: "project.change", change: "project.change", remove: "project.change" }),
  usage: route({
    name: "project.usage",
    method: "GET",
    path: "/projects/:id/usage",
    privilege: "project.view",
    summary: "What a project uses of its quota",
    kind: "project",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({ quota: Quota, used: z.object({ vms: z.int(), vcpus: z.int(), memoryBytes: z.int(), diskBytes: z.int(), images: z.int() }) }),
    errors: ["not-found"],
  }),
};
const UserInput = UserSpec.omit({ passwordHash: true }).extend({
  password: z.string().min(8, "must have at least 8 characters").max(200).optional(),
});
const userRecordRoutes = recordRoutes("user", UserInput, { view: "user.view", create: "user.change", change: "user.change", remove: "user.change" });
export const userRoutes = {
  ...userRecordRoutes,
  setPassword: route({
    name: "user.setPassword",
    method: "POST",
    path: "/users/:id/password",
    privilege: "signed-in",
    summary: "Set a password: one's own with the present one, another's as administrator",
    kind: "user",
    params: IdParams,
    query: Nothing,
    body: z.strictObject({ current: z.string().max(200).optional(), password: z.string().min(8, "must have at least 8 characters").max(200) }),
    output: Nothing,
    errors: ["not-found", "not-allowed", "conflict", "uncertain", "store-full"],
  }),
};
export const roleRoutes = recordRoutes("role", RoleSpec, { view: "user.view", create: "user.change", change: "user.change", remove: "user.change" });

const tokenCommon = recordRoutes("token", TokenSpec, { view: "token.own", create: "token.own", change: "token.own", remove: "token.own" });
export const tokenRoutes = {
  list: tokenCommon.list,
  get: tokenCommon.get,
  delete: tokenCommon.delete,
  create: route({
    name: "token.create",
    method: "POST",
    path: "/tokens",
    privilege: "token.own",
    summary: "Make an API token; its secret is shown once",
    kind: "token",
    params: Nothing,
    query: Nothing,
    body: z.strictObject({
      name: Name,
      description: z.string().max(200).default(""),
      privileges: TokenSpec.shape.privileges,
      project: Reference.optional(),
      validForMs: z
        .int()
        .min(60_000)
        .max(10 * 365 * 86_400_000)
        .optional(),
    }),
    output: z.object({ record: recordSchema("token"), secret: z.string() }),
    status: 201,
    errors: ["name-taken", "not-found", "not-allowed", "uncertain", "store-full"],
  }),
};

const taskCommon = recordRoutes("task", TaskSpec, { view: "task.view", create: "task.view", change: "task.view", remove: "task.view" });
export const taskRoutes = {
  list: taskCommon.list,
  get: taskCommon.get,
  cancel: route({
    name: "task.cancel",
    method: "POST",
    path: "/tasks/:id/cancel",
    privilege: "task.cancel",
    summary: "Ask a task to stop",
    kind: "task",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: Accepted(recordSchema("task")),
    status: 202,
    errors: ["not-found", "state-refused", "conflict", "uncertain", "store-full"],
  }),
  log: route({
    name: "task.log",
    method: "GET",
    path: "/tasks/:id/log",
    privilege: "task.view",
    summary: "The lines a task has logged on this server",
    kind: "task",
    params: IdParams,
    query: OneQuery,
    body: Nothing,
    output: z.object({ lines: z.array(z.object({ at: z.int(), text: z.string() })) }),
    errors: ["not-found"],
  }),
};

const Session = z.object({
  user: z.string(),
  userId: z.string(),
  grants: z.array(z.object({ role: z.string(), project: z.string() })),
  privileges: z.array(z.string()),
  expiresAt: z.int().optional(),
});
export const sessionRoutes = {
  signIn: route({
    name: "session.signIn",
    method: "POST",
    path: "/sessions",
    privilege: "anyone",
    summary: "Sign in with name and password",
    params: Nothing,
    query: Nothing,
    body: z.strictObject({ user: z.string().min(1).max(63), password: z.string().min(1).max(200) }),
    output: z.object({ token: z.string(), expiresAt: z.int(), user: z.string() }),
    status: 201,
    errors: [],
  }),
  signOut: route({
    name: "session.signOut",
    method: "DELETE",
    path: "/sessions/current",
    privilege: "signed-in",
    summary: "End this session",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    output: Nothing,
    errors: [],
  }),
  whoAmI: route({
    name: "session.whoAmI",
    method: "GET",
    path: "/whoami",
    privilege: "signed-in",
    summary: "Who is signed in, and may do what",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    output: Session,
    errors: [],
  }),
};

export const auditRoutes = {
  list: route({
    name: "audit.list",
    method: "GET",
    path: "/audit",
    privilege: "audit.view",
    summary: "Read the audit trail, newest first",
    params: Nothing,
    query: z.strictObject({
      limit: z.coerce.number().int().min(1).max(1000).default(100),
      cursor: z.string().max(200).optional(),
      actor: z.string().max(100).optional(),
      target: z.string().max(200).optional(),
      from: z.coerce.number().int().min(0).optional(),
      to: z.coerce.number().int().min(0).optional(),
    }),
    body: Nothing,
    output: ListOutput(AuditEvent),
    errors: [],
  }),
  verify: route({
    name: "audit.verify",
    method: "GET",
    path: "/audit/verification",
    privilege: "audit.view",
    summary: "Recompute the hash chain",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    output: z.object({
      intact: z.boolean(),
      events: z.int(),
      sealed: z.int(),
      chains: z.int(),
      files: z.int(),
      problems: z.array(z.string()),
      notes: z.array(z.string()),
    }),
    errors: [],
  }),
};

const availabilityShape = {
  upMs: z.int(),
  downMs: z.int(),
  offMs: z.int(),
  unknownMs: z.int(),
  causes: AvailabilitySum.shape.causes,
  percent: z.number().nullable(),
  lowestPercent: z.number().nullable(),
};
const Amount = z.object({ installed: z.int(), offered: z.int(), promisable: z.int(), allocated: z.int(), used: z.int(), free: z.int() });
export const systemRoutes = {
  /** A1: the pool as one machine. `promisable` is offered × overcommit; `free` is promisable − allocated. CPU in vCPUs, the rest in bytes. */
  capacity: route({
    name: "system.capacity",
    method: "GET",
    path: "/capacity",
    privilege: "host.view",
    summary: "CPU, memory and storage of all hosts as one pool",
    params: Nothing,
    query: z.strictObject({ cluster: Reference.optional(), zone: z.string().max(130).optional() }),
    body: Nothing,
    output: z.object({
      hosts: z.int(),
      ready: z.int(),
      /** Put to sleep, or on their way there or back. */
      asleep: z.int(),
      vms: z.record(z.string(), z.int()),
      cpu: Amount,
      memory: Amount,
      storage: Amount,
      gpus: z.int(),
      /** In thousandths of a GPU: what hosts hand out, and what machines have of it. */
      gpuMilli: z.object({ offered: z.int(), allocated: z.int(), free: z.int() }),
      /** Of each cluster that is to survive the loss of hosts: memory that may still be promised; negative: so much is missing. */
      failOver: z.array(z.object({ cluster: z.string(), hosts: z.int(), toleratedHostFailures: z.int(), spareMemoryBytes: z.int() })),
    }),
    errors: ["not-found"],
  }),
  availability: route({
    name: "system.availability",
    method: "GET",
    path: "/availability",
    privilege: "vm.view",
    summary: "How long machines served in a month, by machine, project and site, with each outage's cause",
    params: Nothing,
    query: z.strictObject({
      project: Reference.optional(),
      /** Of one machine, looked up in the project. */
      vm: Reference.optional(),
      /** UTC; absent: the present one. At most twelve months back. */
      month: z
        .string()
        .regex(/^20[0-9]{2}-(0[1-9]|1[0-2])$/, "must be a month: 2026-11")
        .optional(),
      /** Machines that are listed, the least available first. */
      limit: z.coerce.number().int().min(1).max(1000).default(100),
    }),
    body: Nothing,
    output: z.object({
      month: z.string(),
      /** Begin of the month, and its end or now. */
      from: z.int(),
      to: z.int(),
      /** For whom all projects are visible. */
      site: z.object({ machines: z.int(), ...availabilityShape }).optional(),
      projects: z.array(
        z.object({
          id: z.string(),
          name: z.string(),
          targetPercent: z.number(),
          /** Null: nothing was measured. */
          met: z.boolean().nullable(),
          /** Those that were deleted meanwhile included. */
          machines: z.int(),
          ...availabilityShape,
        }),
      ),
      machines: z.array(
        z.object({
          id: z.string(),
          name: z.string(),
          project: z.string(),
          state: z.enum(serviceStates),
          since: z.int(),
          ...availabilityShape,
          outages: z.array(Outage),
        }),
      ),
    }),
    errors: ["not-found"],
  }),
  version: route({
    name: "system.version",
    method: "GET",
    path: "/version",
    privilege: "anyone",
    summary: "Version of the server and of the API",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    /** `simulated`: hosts and machines are simulated (`npm start -- --demo`); every answer says so in the header `sheaf-simulated`, too. */
    output: z.object({ version: z.string(), api: z.string(), incarnation: z.string(), now: z.int(), simulated: z.boolean() }),
    errors: [],
  }),
  backup: route({
    name: "system.backup",
    method: "POST",
    path: "/backups",
    privilege: "system.maintain",
    summary: "Write a consistent backup of the store beside it",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    output: z.object({ file: z.string(), bytes: z.int(), revision: z.int() }),
    status: 201,
    errors: ["store-full", "timed-out"],
  }),
  supportBundle: route({
    name: "system.supportBundle",
    method: "GET",
    path: "/support-bundle",
    privilege: "system.maintain",
    summary: "State, logs and versions, secrets removed",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    output: z.looseObject({}),
    errors: [],
  }),
};
