/** Handlers of the five routes that every kind has. One function for all kinds: what is special about a kind is in its rules. */
import { routes, type ListQuery, type PatchDocument, type Route } from "@sheaf/contract";
import { isProjectKind, Labels, SheafError, type Kind, type RecordOf, type SpecOf } from "@sheaf/model";
import type { z } from "zod";
import { hashPassword } from "../identity/passwords.ts";
import type { NewDocument, WantedChange } from "../records/documents.ts";
import { kindRules, type KindRules } from "../records/kind-rules.ts";
import { mergePatch } from "../records/merge-patch.ts";
import { blankedSpec } from "../records/present.ts";
import { written, type Answer, type AnyHandler, type Call, notAllowed } from "./call.ts";
import { invalidFields } from "./problem-answers.ts";

type Group = Readonly<Record<string, Route>>;
const groups = Object.fromEntries(Object.entries(routes)) as unknown as Readonly<Record<Kind, Group>>; // every kind has its group

interface OneParams {
  readonly id: string;
}
interface OneQuery {
  readonly project?: string;
  readonly revision?: number;
}
interface WriteQuery {
  readonly project?: string;
  readonly dryRun: boolean;
}
interface DocumentBody<K extends Kind> extends NewDocument<K> {
  readonly project?: string;
}

/** Handlers of those of the five that the kind has. */
export function recordHandlers(kind: Kind): (readonly [string, AnyHandler])[] {
  const found: (readonly [string, AnyHandler])[] = [];
  const group = groups[kind];
  const add = (verb: string, handler: AnyHandler): void => {
    if (group[verb] !== undefined) found.push([group[verb].name, handler]);
  };
  // The parsed values have the types of the routes' schemas, which are the same for every kind (contract/record-routes).
  add("list", (call) => list(kind, call as Call<unknown, ListQuery>));
  add("get", (call) => get(kind, call as Call<OneParams, OneQuery>));
  add("create", (call) => create(kind, call as Call<unknown, WriteQuery, DocumentBody<typeof kind>>));
  add("replace", (call) => replace(kind, call as Call<OneParams, WriteQuery, DocumentBody<typeof kind>>));
  add("change", (call) => change(kind, group["create"]?.body ?? group["replace"]?.body, call as Call<OneParams, WriteQuery, PatchDocument>));
  add("delete", (call) => remove(kind, call as Call<OneParams, WriteQuery>));
  return found;
}

async function list(kind: Kind, call: Call<unknown, ListQuery>): Promise<Answer> {
  const { context, lists, records } = call.services;
  const { project, revision, ...query } = call.query;
  if (kind === "role" || kind === "user") call.everywhere(call.route.privilege);
  else if (!call.caller.rights.anywhere(call.route.privilege)) throw notAllowed(call.route.privilege);
  if (revision !== undefined) await context.cache.waitFor(revision, revisionWaitMs);
  const projectId = project === undefined || !isProjectKind(kind) ? undefined : records.references.scope(call.caller, project);
  return { text: lists.list(call.caller, kind, { ...query, project: projectId }) };
}

/** How long a read waits for a revision that this server has not seen. */
const revisionWaitMs = 10_000;

async function get(kind: Kind, call: Call<OneParams, OneQuery>): Promise<Answer> {
  const { context, records } = call.services;
  if (call.query.revision !== undefined) await context.cache.waitFor(call.query.revision, revisionWaitMs);
  const record = call.target(kind, call.params.id, call.query.project);
  return { text: records.presenter.text(record), headers: { etag: `"${record.specRevision}"` } };
}

async function create<K extends Kind>(kind: K, call: Call<unknown, WriteQuery, DocumentBody<K>>): Promise<Answer> {
  const { body, query } = call;
  const project = call.projectFor(kind, body.project ?? query.project);
  const document = { ...body, spec: await stored(kind, call, body.spec) };
  const given = (call.given as { spec?: unknown } | undefined)?.spec; // an object, the schema has seen it
  const made = await call.documents.create(kind, call.change(query.dryRun), project, document, given);
  return { ...written(made), ...(query.dryRun ? { status: 200 } : {}) };
}

async function replace<K extends Kind>(kind: K, call: Call<OneParams, WriteQuery, DocumentBody<K>>): Promise<Answer> {
  const { body, query } = call;
  const record = call.target(kind, call.params.id, query.project ?? body.project);
  requireSame(call, record, body);
  const spec = await stored(kind, call, body.spec);
  const wanted = (): WantedChange<K> => ({ name: body.name, displayName: body.displayName, labels: body.labels, spec });
  return changed(call, query.dryRun, await call.documents.change(kind, call.change(query.dryRun), record.id, wanted));
}

/** @param document schema of the kind's documents */
async function change<K extends Kind>(kind: K, document: z.ZodType | undefined, call: Call<OneParams, WriteQuery, PatchDocument>): Promise<Answer> {
  const { body, query } = call;
  const record = call.target(kind, call.params.id, query.project);
  const password = kind === "user" ? takePassword(body.spec) : undefined;
  const hash = password === undefined ? undefined : await newHash(call, password);
  const wanted = (before: RecordOf<K>): WantedChange<K> => {
    const labels = body.labels === undefined ? before.labels : Labels.safeParse(mergePatch(before.labels, body.labels));
    if ("success" in labels && !labels.success) throw invalidFields(labels.error as z.ZodError, "body", "/labels");
    const spec = body.spec === undefined ? undefined : patchedSpec(kind, document, before, body.spec);
    return {
      ...(body.name === undefined ? {} : { name: body.name }),
      ...(body.displayName === undefined ? {} : { displayName: body.displayName ?? undefined }),
      labels: ("success" in labels ? labels.data : labels) as Readonly<Record<string, string>>, // checked above
      ...(spec === undefined ? {} : { spec: hash === undefined ? spec : { ...spec, passwordHash: hash } }),
    };
  };
  return changed(call, query.dryRun, await call.documents.change(kind, call.change(query.dryRun), record.id, wanted));
}

async function remove(kind: Kind, call: Call<OneParams, WriteQuery>): Promise<Answer> {
  const { query } = call;
  const record = call.target(kind, call.params.id, query.project);
  const { authority } = call.services.context;
  if (kind === "host" && record.deletedAt !== undefined && !query.dryRun) {
    // Asked again because the revocation failed the first time.
    await authority.revoke(record.id);
    return changed(call, false, { id: record.id, specRevision: record.specRevision, record: call.services.records.presenter.text(record) });
  }
  const done = await call.documents.remove(kind, call.change(query.dryRun), record.id);
  if (kind === "host" && !query.dryRun) await authority.revoke(record.id);
  return changed(call, query.dryRun, done);
}

const changed = (call: Call, dryRun: boolean, done: Parameters<typeof written>[0]): Answer => ({
  ...written(done),
  // A dry run was not accepted for later.
  ...(dryRun && call.route.status === 202 ? { status: 200 } : {}),
});

/** The patch on the spec as a client sees it, then the kind's whole schema. A field of a newer version, which this one does not know, stays. */
function patchedSpec<K extends Kind>(
  kind: K,
  document: z.ZodType | undefined,
  before: RecordOf<K>,
  patch: Readonly<Record<string, unknown>>,
): SpecOf<K> {
  const rules = kindRules[kind] as KindRules<K>; // the table has the rules of each kind under its name
  const shown = rules.editable?.(before.spec) ?? blankedSpec(kind, before.spec);
  const shape = (document as { shape?: { spec?: z.ZodType & { shape?: Readonly<Record<string, unknown>> } } } | undefined)?.shape?.spec; // documents are objects with a spec
  if (shape === undefined) throw new SheafError("method-not-allowed", `A ${kind} cannot be changed.`);
  const known = new Set(Object.keys(shape.shape ?? {}));
  const kept = Object.fromEntries(Object.entries(shown as object).filter(([field]) => !known.has(field) && !Object.hasOwn(patch, field)));
  const merged = mergePatch(Object.fromEntries(Object.entries(shown as object).filter(([field]) => known.has(field))), patch);
  const parsed = shape.safeParse(merged);
  if (!parsed.success) throw invalidFields(parsed.error, "body", "/spec");
  return { ...kept, ...(parsed.data as object) } as SpecOf<K>; // parsed by the kind's schema
}

/** What is stored instead of what came: a password's hash. */
async function stored<K extends Kind>(kind: K, call: Call, spec: SpecOf<K>): Promise<SpecOf<K>> {
  if (kind !== "user") return spec;
  const { password, ...rest } = spec as SpecOf<"user"> & { password?: string }; // users are sent with their password
  return { ...rest, ...(password === undefined ? {} : { passwordHash: await newHash(call, password) }) } as SpecOf<K>;
}

const newHash = (call: Call, password: string): Promise<string> =>
  call.services.passwords.run(() => hashPassword(password, call.services.context.random, call.services.context.settings.limits.passwordCost));

/** A password in a patch; its rules are the schema's, which sees the patched spec. */
function takePassword(patch: Readonly<Record<string, unknown>> | undefined): string | undefined {
  const password = patch?.["password"];
  if (password === undefined) return undefined;
  if (typeof password === "string" && password.length >= 8 && password.length <= 200) return password;
  throw new SheafError("invalid-input", "/spec/password must have 8 to 200 characters.", {
    errors: [{ at: "/spec/password", message: "must have 8 to 200 characters" }],
  });
}

/** A whole document that is put must be this record's. */
function requireSame<K extends Kind>(call: Call, record: RecordOf<K>, body: DocumentBody<K>): void {
  if (body.number !== undefined && body.number !== record.number)
    throw new SheafError("state-refused", `The number of ${record.name} is ${record.number ?? "none"} and cannot be changed.`, {
      errors: [{ at: "/number", message: "cannot be changed" }],
    });
  if (body.project === undefined || record.project === undefined) return;
  if (call.services.records.references.scope(call.caller, body.project) !== record.project)
    throw new SheafError("state-refused", `${record.name} cannot move to another project.`, {
      errors: [{ at: "/project", message: "cannot be changed" }],
    });
}
