/** Rules for projects, users, roles, tokens and tasks. */
import { builtInRoles, hasLimits, quotaUsageKey, SheafError, type Privilege, type RecordOf, type SpecOf } from "@sheaf/model";
import { isBuiltInRole } from "../identity/rights.ts";
import type { KindRules } from "./kind-rules.ts";
import type { Work } from "./record-services.ts";
import { defaultName } from "./references.ts";

const notByDocument = (what: string, next: string) => (): never => {
  throw new SheafError("state-refused", `${what} are not made or changed by documents.`, { next });
};

export const projectRules: KindRules<"project"> = {
  finalizers: [],
  verbs: {},
  referred: true,
  create: (_work, spec) => ({ spec }),
  change(work, before, spec) {
    // Kept only while there are limits; the first use after they are set counts afresh.
    if (hasLimits(before) && !Object.values(spec.quota).some((limit) => limit !== undefined)) work.draft.delete(quotaUsageKey(before.id));
    return { spec };
  },
  refuseDelete: (_work, record) => (record.name === defaultName ? "the project default is always there" : null),
  refuseRename: (record) => (record.name === defaultName ? "the project default keeps its name" : null),
  cleanUp: (work, record) => work.draft.delete(quotaUsageKey(record.id)),
};

export const roleRules: KindRules<"role"> = {
  finalizers: [],
  verbs: {},
  referred: true,
  create(work, spec) {
    mayGrant(work, spec.privileges, "/spec/privileges");
    return { spec };
  },
  change(work, before, spec) {
    if (isBuiltInRole(before.name))
      throw new SheafError("state-refused", `The role ${before.name} is built in.`, { next: "Make a role of your own." });
    mayGrant(work, spec.privileges, "/spec/privileges");
    return { spec };
  },
  refuseDelete: (_work, record) => (isBuiltInRole(record.name) ? "it is built in" : null),
  refuseRename: (record) => (isBuiltInRole(record.name) ? "it is built in" : null),
};

export const userRules: KindRules<"user"> = {
  finalizers: [],
  verbs: {},
  referred: false,
  leavesTraces: true,
  editable: ({ passwordHash: _hidden, ...spec }) => spec,
  create: (work, spec) => ({ spec: withIds(work, spec, []) }),
  change(work, before, spec) {
    const kept = before.spec.passwordHash;
    const password = spec.passwordHash ?? kept;
    const next = { ...withIds(work, spec, before.spec.grants), ...(password === undefined ? {} : { passwordHash: password }) };
    if (isAdministrator(work, before.spec) && !isAdministrator(work, next)) keepOne(work, before);
    return { spec: next };
  },
  refuseDelete(work, record) {
    if (isAdministrator(work, record.spec)) keepOne(work, record);
    return null;
  },
};

export const tokenRules: KindRules<"token"> = {
  finalizers: [],
  verbs: {},
  referred: false,
  create: notByDocument("API tokens", "Use POST /tokens."),
  change: notByDocument("API tokens", "Delete the token and make a new one."),
};

export const taskRules: KindRules<"task"> = {
  finalizers: [],
  verbs: {},
  referred: false,
  create: notByDocument("Tasks", "Ask for the change itself."),
  change: notByDocument("Tasks", "Use POST /tasks/:id/cancel to stop one."),
};

/** Nobody gives what he does not have. */
function mayGrant(work: Work, privileges: readonly Privilege[], at: string): void {
  const { rights } = work.request.caller;
  const beyond = privileges.find((privilege) => privilege !== "anyone" && privilege !== "signed-in" && !rights.everywhere(privilege));
  if (beyond !== undefined)
    throw new SheafError("not-allowed", `You cannot give the privilege ${beyond}: you do not hold it everywhere yourself.`, {
      next: "Ask an administrator.",
      errors: [{ at, message: `holds ${beyond}` }],
    });
}

function withIds(work: Work, spec: SpecOf<"user">, held: SpecOf<"user">["grants"]): SpecOf<"user"> {
  const { references } = work.services;
  const grants = spec.grants.map(({ role, project }, index) => {
    const found = references.above("role", role, `/spec/grants/${index}/role`);
    const where = project === "*" ? project : references.above("project", project, `/spec/grants/${index}/project`).id;
    if (!held.some((grant) => grant.role === found.id && grant.project === where)) {
      mayGrant(work, isBuiltInRole(found.name) ? builtInRoles[found.name] : found.spec.privileges, `/spec/grants/${index}`);
      work.draft.unchanged(found);
      if (where !== "*") work.draft.unchanged(references.above("project", where, `/spec/grants/${index}/project`));
    }
    return { role: found.id, project: where };
  });
  return { ...spec, grants };
}

function isAdministrator(work: Work, spec: SpecOf<"user">): boolean {
  const admin = work.services.context.cache.byName("role", "-", "admin");
  return !spec.disabled && spec.grants.some(({ role, project }) => role === admin?.id && project === "*");
}

/** One administrator who can sign in must stay. The others compared here must not change meanwhile. */
function keepOne(work: Work, leaving: RecordOf<"user">): void {
  for (const user of work.services.context.cache.all("user")) {
    if (user.id === leaving.id || user.spec.passwordHash === undefined || !isAdministrator(work, user.spec)) continue;
    work.draft.unchanged(user);
    return;
  }
  throw new SheafError("state-refused", `${leaving.name} is the last administrator who can sign in.`, {
    next: "Give another user the role admin everywhere, and a password, first.",
  });
}
