/** Who may do what: projects with quotas, users, roles, tokens. Written by administrators through the API alone. */
import { z } from "zod";
import { Bytes, Reference, Timestamp } from "./fields.ts";

/** Limits of a project; absent: none. Checked in the transaction that uses them. */
export const Quota = z.strictObject({
  vms: z.int().min(0).optional(),
  vcpus: z.int().min(0).optional(),
  memoryBytes: Bytes.optional(),
  diskBytes: Bytes.optional(),
  images: z.int().min(0).optional(),
});
export type Quota = z.infer<typeof Quota>;
/** Also for projects that were stored before there was a target. */
export const defaultAvailabilityTargetPercent = 99.99;
export const ProjectSpec = z.strictObject({
  description: z.string().max(1000).default(""),
  quota: Quota.prefault({}),
  /** Share of the time its machines are to serve, in percent: what measured availability is held against. */
  availabilityTargetPercent: z.number().min(0).max(100).default(defaultAvailabilityTargetPercent),
});
export type ProjectSpec = z.infer<typeof ProjectSpec>;

/** `area.verb`. A route cannot exist without one. */
export const privileges = [
  "vm.view",
  "vm.create",
  "vm.operate",
  "vm.change",
  "vm.delete",
  "vm.console",
  "vm.migrate",
  "vm.adopt",
  "volume.view",
  "volume.change",
  "image.view",
  "image.change",
  "network.view",
  "network.change",
  "host.view",
  "host.maintain",
  "host.change",
  "cluster.view",
  "cluster.change",
  "pool.view",
  "pool.change",
  "task.view",
  "task.cancel",
  "project.view",
  "project.change",
  "user.view",
  "user.change",
  "token.own",
  "audit.view",
  "system.view",
  "system.maintain",
  "signed-in",
  "anyone",
] as const;
export type Privilege = (typeof privileges)[number];

const viewer = [
  "vm.view",
  "volume.view",
  "image.view",
  "network.view",
  "host.view",
  "cluster.view",
  "pool.view",
  "task.view",
  "project.view",
  "token.own",
] as const;
const operator = [
  ...viewer,
  "vm.create",
  "vm.operate",
  "vm.change",
  "vm.delete",
  "vm.console",
  "vm.migrate",
  "volume.change",
  "image.change",
  "task.cancel",
] as const;
/** Roles that are there from the start; `admin` holds every privilege. */
export const builtInRoles: Readonly<Record<"admin" | "operator" | "viewer", readonly Privilege[]>> = { viewer, operator, admin: privileges };

export const RoleSpec = z.strictObject({ privileges: z.array(z.enum(privileges)).max(privileges.length) });
export type RoleSpec = z.infer<typeof RoleSpec>;

/** `project: "*"` grants the role everywhere, above projects too. */
export const Grant = z.strictObject({ role: Reference, project: z.union([z.literal("*"), Reference]) });
export const UserSpec = z.strictObject({
  grants: z.array(Grant).max(100).default([]),
  disabled: z.boolean().default(false),
  /** `scrypt$N$r$p$salt$hash`; set through the password route only, never shown. */
  passwordHash: z.string().max(400).optional(),
});
export type UserSpec = z.infer<typeof UserSpec>;

/** An API token: acts as its user, with at most the privileges named. The secret is shown once; stored is its SHA-256. */
export const TokenSpec = z.strictObject({
  user: Reference,
  description: z.string().max(200).default(""),
  /** Absent: all of the user's. */
  privileges: z.array(z.enum(privileges)).max(privileges.length).optional(),
  project: Reference.optional(),
  expiresAt: Timestamp.optional(),
  secretHash: z.string(),
});
export type TokenSpec = z.infer<typeof TokenSpec>;

/** One line of the audit chain. Secrets are blanked before it is written. */
export const AuditEvent = z.looseObject({
  sequence: z.int(),
  at: Timestamp,
  /** User name, `token:<name>` of a user, `agent:<host>`, or `system`. */
  actor: z.string(),
  from: z.string(),
  /** Method and route, or the command of the server's own machine. */
  action: z.string(),
  target: z.string(),
  project: z.string().optional(),
  result: z.enum(["done", "refused", "failed"]),
  code: z.string().optional(),
  requestId: z.string().optional(),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
  /** How many alike were counted together (refused attempts). */
  count: z.int().optional(),
});
export type AuditEvent = z.infer<typeof AuditEvent>;
