/** Handlers of sign-in, passwords and API tokens. */
import { toHex } from "@sheaf/base";
import { routes } from "@sheaf/contract";
import { nameKey, partKey, SheafError, sessionKey, type RecordOf } from "@sheaf/model";
import { hashPassword, verifyPassword } from "../identity/passwords.ts";
import { hashOf } from "../identity/sessions.ts";
import { nameTaken, storedPart } from "../records/documents.ts";
import { Draft } from "../records/draft.ts";
import { blanked } from "../records/present.ts";
import { json, on, type AnyHandler, type Answer, type Call } from "./call.ts";

const { session, user, token } = routes;

export const identityHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(session.signIn, (call) => signIn(call, call.body.user, call.body.password)),
  on(session.signOut, async (call) => {
    const { session: hash, userId } = call.caller;
    if (hash === undefined) throw new SheafError("state-refused", "An API token has no session to end.", { next: "Delete the token instead." });
    await call.services.records.writer.write(call.asker, () => {
      const draft = new Draft();
      draft.delete(sessionKey(hash));
      return { draft, target: `user/${userId}`, answer: () => undefined };
    });
    call.services.sessions.forget(hash);
    return json({});
  }),
  on(session.whoAmI, (call) => {
    const { cache } = call.services.context;
    const { userName, userId, rights, expiresAt } = call.caller;
    const grants = (cache.get("user", userId)?.spec.grants ?? []).map(({ role, project }) => ({
      role: cache.get("role", role)?.name ?? role,
      project: project === "*" ? project : (cache.get("project", project)?.name ?? project),
    }));
    return json({ user: userName, userId, grants, privileges: rights.all(), ...(expiresAt === undefined ? {} : { expiresAt }) });
  }),
  on(user.setPassword, async (call) => {
    const { caller } = call;
    const target = call.services.records.references.target(caller, "user", call.params.id, undefined);
    const own = target.id === caller.userId;
    if (!own) call.everywhere("user.change");
    await setPassword(call, target, call.body.password, own ? (call.body.current ?? "") : null);
    return json({});
  }),
  on(token.create, (call) => createToken(call, call.body)),
];

/** One text for everything that can be wrong: a stranger learns nothing about which users there are. */
const wrong = (): SheafError =>
  new SheafError("unauthenticated", "Name or password is wrong.", { next: "Check both; an administrator can set a new password." });

async function signIn(call: Call, name: string, password: string): Promise<Answer> {
  const { context, throttle, passwords, sessions, records } = call.services;
  const { from } = call.asker;
  throttle.check(name, from);
  const found = context.cache.byName("user", "-", name);
  const hash = found?.spec.passwordHash;
  const right = await passwords.run(async () => {
    if (hash !== undefined) return verifyPassword(password, hash);
    // A user who is not there costs as long as one who is.
    await hashPassword(password, context.random, context.settings.limits.passwordCost);
    return false;
  });
  const now = found === undefined ? undefined : context.cache.get("user", found.id);
  if (!right || now === undefined || now.spec.disabled || now.deletedAt !== undefined || now.spec.passwordHash !== hash) {
    throttle.failed(name, from);
    throw wrong();
  }
  throttle.succeeded(name, from);
  const made = sessions.create(now.id);
  await records.writer.write({ ...call.asker, actor: now.name, userId: now.id }, () => {
    const draft = new Draft();
    draft.unchanged(now, wrong);
    draft.operations.push(made.operation);
    return { draft, target: `user/${now.id}`, answer: () => undefined };
  });
  sessions.remember(made.token, made.session);
  return json({ token: made.token, expiresAt: made.session.expiresAt, user: now.name });
}

/** @param current the present password, `null` where an administrator needs none */
async function setPassword(call: Call, target: RecordOf<"user">, password: string, current: string | null): Promise<void> {
  const { context, throttle, passwords, records, sessions } = call.services;
  if (current !== null && target.spec.passwordHash !== undefined) {
    throttle.check(target.name, call.asker.from);
    const hash = target.spec.passwordHash;
    if (!(await passwords.run(() => verifyPassword(current, hash)))) {
      throttle.failed(target.name, call.asker.from);
      throw new SheafError("not-allowed", "The present password is wrong.", { errors: [{ at: "/current", message: "is wrong" }] });
    }
  }
  const passwordHash = await passwords.run(() => hashPassword(password, context.random, context.settings.limits.passwordCost));
  const ended = sessions.keysOf(target.id, call.caller.session).slice(0, 80);
  await records.writer.write(call.asker, () => {
    const draft = new Draft();
    draft.unchanged(target, () => new SheafError("conflict", `The user ${target.name} was changed meanwhile.`, { next: "Try again." }));
    draft.put(partKey("user", target.id, "spec"), {
      ...storedPart(target),
      generation: target.generation + 1,
      spec: { ...target.spec, passwordHash },
    });
    // Whoever knew the old password is out.
    for (const key of ended) draft.delete(key);
    return { draft, target: `user/${target.id}`, answer: () => undefined };
  });
  for (const key of ended) sessions.forget(key.slice(sessionKey("").length));
}

interface TokenBody {
  readonly name: string;
  readonly description: string;
  readonly privileges?: RecordOf<"token">["spec"]["privileges"];
  readonly project?: string | undefined;
  readonly validForMs?: number | undefined;
}

async function createToken(call: Call, body: TokenBody): Promise<Answer> {
  const { context, records } = call.services;
  const { caller } = call;
  if (caller.token !== undefined) throw new SheafError("not-allowed", "An API token cannot make another.", { next: "Sign in with your password." });
  const beyond = body.privileges?.find((privilege) => privilege !== "anyone" && privilege !== "signed-in" && !caller.rights.anywhere(privilege));
  if (beyond !== undefined)
    throw new SheafError("not-allowed", `You cannot give a token the privilege ${beyond}: you do not hold it.`, {
      errors: [{ at: "/privileges", message: `holds ${beyond}` }],
    });
  const project = body.project === undefined ? undefined : records.references.project(caller, body.project, "/project");
  const secret = toHex(context.random.bytes(24));
  const now = context.clock.now();
  const made = await records.writer.write(call.asker, () => {
    if (context.cache.byName("token", "-", body.name) !== undefined) throw nameTaken("token", body.name, undefined);
    const id = records.newId();
    const draft = new Draft();
    draft.claim(nameKey("token", "-", body.name), id, { refusal: () => nameTaken("token", body.name, undefined) });
    const part = {
      kind: "token" as const,
      id,
      name: body.name,
      labels: {},
      generation: 1,
      createdAt: now,
      createdBy: caller.userName,
      finalizers: [],
      spec: {
        user: caller.userId,
        description: body.description,
        secretHash: hashOf(secret),
        ...(body.privileges === undefined ? {} : { privileges: body.privileges }),
        ...(project === undefined ? {} : { project: project.id }),
        ...(body.validForMs === undefined ? {} : { expiresAt: now + body.validForMs }),
      },
    };
    draft.put(partKey("token", id, "spec"), part);
    return {
      draft,
      target: `token/${id}`,
      after: JSON.stringify(blanked(part)),
      receipt: { kind: "token", id },
      answer: (revision: number) => ({ id, record: { ...part, status: {}, revision, specRevision: revision } as RecordOf<"token"> }),
    };
  });
  return { text: `{"record":${records.presenter.text(made.record)},"secret":"sheaf_${made.id}_${secret}"}` };
}
