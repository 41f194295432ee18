/**
 * What must be there before anyone can sign in: project and cluster `default`, the built-in roles, the user `admin`. Called at the first
 * start of a site (any number of times), and by `sheaf admin reset-password` on the server's own machine. Works on the store alone.
 */
import { uuidv7, type Clock, type Random } from "@sheaf/base";
import { builtInRoles, ClusterSpec, nameKey, partKey, ProjectSpec, RecordHead, sessionKey, SheafError, UserSpec, type Kind } from "@sheaf/model";
import type { Compare, Operation, Store } from "@sheaf/store";
import { defaultPasswordCost, hashPassword } from "./passwords.ts";
import type { Session } from "./sessions.ts";

export interface BootstrapContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
}

export const administrator = "admin";

/**
 * Makes what is missing; what is there stays as it is.
 * @returns whether the administrator was made now, with this password
 */
export async function bootstrapAdmin(
  context: BootstrapContext,
  options: { readonly password: string; readonly passwordCost?: number },
): Promise<{ created: boolean }> {
  const { store, clock, random } = context;
  const compare: Compare[] = [];
  const then: Operation[] = [];
  const now = clock.now();
  const make = async (kind: Kind, name: string, spec: () => Promise<unknown> | unknown): Promise<string> => {
    const key = nameKey(kind, "-", name);
    const known = await store.get(key);
    if (known !== null) return known.value;
    const id = uuidv7(now, random);
    compare.push({ key, createRevision: 0 });
    then.push({ put: key, value: id });
    const head = { kind, id, name, labels: {}, generation: 1, createdAt: now, createdBy: "system", finalizers: [] };
    then.push({ put: partKey(kind, id, "spec"), value: JSON.stringify({ ...head, spec: await spec() }) });
    return id;
  };
  await make("project", "default", () => ProjectSpec.parse({ description: "Where everything goes that names no project." }));
  await make("cluster", "default", () => ClusterSpec.parse({}));
  let adminRole = "";
  for (const [name, privileges] of Object.entries(builtInRoles)) {
    const id = await make("role", name, () => ({ privileges: [...privileges] }));
    if (name === "admin") adminRole = id;
  }
  let created = false;
  await make("user", administrator, async () => {
    created = true;
    const passwordHash = await hashPassword(options.password, random, options.passwordCost ?? defaultPasswordCost);
    return UserSpec.parse({ grants: [{ role: adminRole, project: "*" }], passwordHash });
  });
  if (then.length === 0) return { created: false };
  const { succeeded } = await store.transact({ compare, then });
  // Somebody else was quicker with some of it: the rest is made now.
  return succeeded ? { created } : bootstrapAdmin(context, options);
}

/**
 * Sets a user's password, lets the user in again and ends its sessions. For who sits at the server itself.
 * @throws SheafError `not-found`, `conflict`
 */
export async function resetPassword(context: BootstrapContext, name: string, password: string, passwordCost = defaultPasswordCost): Promise<void> {
  const { store, random } = context;
  const id = await store.get(nameKey("user", "-", name));
  const entry = id === null ? null : await store.get(partKey("user", id.value, "spec"));
  if (id === null || entry === null)
    throw new SheafError("not-found", `There is no user ${name}.`, { next: "The first administrator is called admin." });
  const part = RecordHead.parse(JSON.parse(entry.value)) as RecordHead & { spec: Record<string, unknown> }; // a spec part has its spec
  const passwordHash = await hashPassword(password, random, passwordCost);
  const next = { ...part, generation: part.generation + 1, spec: { ...part.spec, disabled: false, passwordHash } };
  const sessions = await sessionsOf(store, id.value);
  const { succeeded } = await store.transact({
    compare: [{ key: entry.key, modRevision: entry.modRevision }],
    then: [{ put: entry.key, value: JSON.stringify(next) }, ...sessions.slice(0, 90).map((key) => ({ delete: key }))],
  });
  if (!succeeded) throw new SheafError("conflict", `The user ${name} was changed meanwhile.`, { next: "Try again." });
  for (let start = 90; start < sessions.length; start += 90)
    await store.transact({ compare: [], then: sessions.slice(start, start + 90).map((key) => ({ delete: key })) });
}

async function sessionsOf(store: Store, userId: string): Promise<string[]> {
  const found: string[] = [];
  let after: string | undefined;
  for (;;) {
    const page = await store.range({ prefix: sessionKey(""), ...(after === undefined ? {} : { after }) });
    for (const entry of page.entries) if ((JSON.parse(entry.value) as Session).userId === userId) found.push(entry.key); // sessions are written by one file
    after = page.entries.at(-1)?.key;
    if (!page.more) return found;
  }
}
