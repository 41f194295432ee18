/** The shapes that go over the API: what a client sends to make or change a record, and what comes back. */
import { DisplayName, kinds, Labels, Name, Reference, specSchemas, type Kind } from "@sheaf/model";
import { z } from "zod";

/** What is sent to create: the same shape as the record that comes back, minus what Sheaf sets. */
export function newDocument<K extends Kind, S extends z.ZodType>(kind: K, spec: S) {
  return z.strictObject({
    kind: z.literal(kind).optional(),
    name: Name,
    displayName: DisplayName.optional(),
    labels: Labels.prefault({}),
    /** Project (name or id); absent: the one of `?project=`, else `default`. */
    project: Reference.optional(),
    /** Machines and images: a number of one's own choice, 100 … 999,999,999. */
    number: z.int().min(100).max(999_999_999).optional(),
    spec,
  });
}

/** Everything a JSON merge patch (RFC 7396) may change; `spec` is checked against the kind's schema after merging. */
export const PatchDocument = z.strictObject({
  name: Name.optional(),
  displayName: DisplayName.nullable().optional(),
  labels: z.record(z.string(), z.string().nullable()).optional(),
  spec: z.record(z.string(), z.unknown()).optional(),
});
export type PatchDocument = z.infer<typeof PatchDocument>;

/** A record as the API answers it. Loose: a newer server's fields are kept by older clients. */
export function recordSchema<K extends Kind>(kind: K) {
  return z.looseObject({
    kind: z.literal(kind),
    id: z.string(),
    name: z.string(),
    displayName: z.string().optional(),
    /** Project's id. */
    project: z.string().optional(),
    labels: z.record(z.string(), z.string()),
    number: z.int().optional(),
    revision: z.int(),
    specRevision: z.int(),
    generation: z.int(),
    createdAt: z.int(),
    createdBy: z.string(),
    deletedAt: z.int().optional(),
    finalizers: z.array(z.string()),
    /** Machines only: the state as people see it (model/vm-state). */
    state: z.string().optional(),
    spec: specSchemas[kind],
    placement: z.looseObject({ host: z.string(), epoch: z.int() }).optional(),
    status: z.looseObject({}),
  });
}

export const ListQuery = z.strictObject({
  project: Reference.optional(),
  /** Conditions joined by commas: `state=running,spec.cpu.count>2,name~web`. Operators: = != > >= < <= ~ (holds). */
  filter: z.string().max(1000).optional(),
  /** `tier=web,env!=test` or `tier` (has the label). */
  label: z.string().max(1000).optional(),
  /** Field, `-` before it for descending. */
  sort: z.string().max(100).optional(),
  /** Fields to return, joined by commas: `id,name,spec.cpu`. */
  fields: z.string().max(1000).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  /** From `next` of the page before. */
  cursor: z.string().max(2000).optional(),
  /** Answer only when this server has seen that revision. */
  revision: z.coerce.number().int().min(0).optional(),
});
export type ListQuery = z.infer<typeof ListQuery>;

export const ListOutput = <R extends z.ZodType>(record: R) =>
  z.object({ items: z.array(record), next: z.string().optional(), total: z.int(), revision: z.int() });
export const IdParams = z.strictObject({ id: Reference });
/** `project` says where a name is looked up; `dryRun` answers what would be, and changes nothing. */
export const OneQuery = z.strictObject({ project: Reference.optional(), revision: z.coerce.number().int().min(0).optional() });
export const WriteQuery = z.strictObject({ project: Reference.optional(), dryRun: z.stringbool().default(false) });
export const Nothing = z.strictObject({});
/** A change's answer: the record as it stands now, and the task that is its receipt where it takes effect later. */
export const Accepted = <R extends z.ZodType>(record: R) => z.object({ record, task: z.string().optional() });
export const anyKind = z.enum(kinds);

/**
 * One event of `GET /watch`: SSE `id` is the revision, `event` is `change`, `data` is this. Another event, `synced` (data `{revision}`),
 * says that all up to that revision has been told. `deleted` comes when the record is gone for good.
 */
export const WatchChange = z.object({
  type: z.enum(["changed", "deleted"]),
  kind: anyKind,
  id: z.string(),
  revision: z.int(),
  /** The record as it stands at that revision; absent when deleted. */
  record: z.looseObject({}).optional(),
});
export type WatchChange = z.infer<typeof WatchChange>;
