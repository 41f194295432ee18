/**
 * What a caller may do, and where. Built from the user's grants and roles, narrowed by an API token; kept until a user, role or
 * project changes. Called for every request; must stay free of I/O.
 */
import { builtInRoles, isProjectKind, type AnyRecord, type Kind, type Privilege, type RecordOf, type RoleSpec } from "@sheaf/model";
import type { RecordCache } from "../context.ts";

export class Rights {
  readonly #everywhere: ReadonlySet<Privilege>;
  readonly #byProject: ReadonlyMap<string, ReadonlySet<Privilege>>;

  constructor(everywhere: ReadonlySet<Privilege>, byProject: ReadonlyMap<string, ReadonlySet<Privilege>>) {
    this.#everywhere = everywhere;
    this.#byProject = byProject;
  }

  /** In every project and above them. */
  everywhere(privilege: Privilege): boolean {
    return this.#everywhere.has(privilege);
  }

  in(privilege: Privilege, projectId: string): boolean {
    return this.#everywhere.has(privilege) || this.#byProject.get(projectId)?.has(privilege) === true;
  }

  /** Whatever it is. */
  anythingIn(projectId: string): boolean {
    return this.#everywhere.size > 0 || (this.#byProject.get(projectId)?.size ?? 0) > 0;
  }

  /** In one project at least. */
  anywhere(privilege: Privilege): boolean {
    if (this.#everywhere.has(privilege)) return true;
    for (const held of this.#byProject.values()) if (held.has(privilege)) return true;
    return false;
  }

  /** All that is held anywhere, for `whoami`. */
  all(): Privilege[] {
    return [...new Set([...this.#everywhere, ...[...this.#byProject.values()].flatMap((held) => [...held])])].sort();
  }

  /** @param project only there; absent: wherever it was */
  narrowed(privileges: readonly Privilege[] | undefined, project: string | undefined): Rights {
    if (privileges === undefined && project === undefined) return this;
    const keep = (held: ReadonlySet<Privilege>): Set<Privilege> =>
      privileges === undefined ? new Set(held) : new Set(privileges.filter((one) => held.has(one)));
    if (project !== undefined) {
      const held = new Set([...this.#everywhere, ...(this.#byProject.get(project) ?? [])]);
      return new Rights(new Set(), new Map([[project, keep(held)]]));
    }
    return new Rights(keep(this.#everywhere), new Map([...this.#byProject].map(([id, held]) => [id, keep(held)])));
  }
}

/** Who asks. */
export interface Caller {
  /** As the audit trail names it: the user's name, or `token:<name>` of a user. */
  readonly actor: string;
  readonly userId: string;
  readonly userName: string;
  readonly rights: Rights;
  readonly expiresAt?: number;
  /** Hash of the session, where one was used. */
  readonly session?: string;
  /** Id of the API token, where one was used. */
  readonly token?: string;
}

/** May `caller` see this record at all? */
export function maySee(caller: Caller, record: AnyRecord | RecordOf<Kind>): boolean {
  const { rights } = caller;
  // `AnyRecord` is told apart by `kind`; records from the cache carry the kind of their key.
  const known = record as AnyRecord;
  switch (known.kind) {
    case "vm":
      return rights.in("vm.view", known.project ?? "");
    case "volume":
      return rights.in("volume.view", known.project ?? "");
    case "image":
      return rights.in("image.view", known.project ?? "") || (known.spec.public && rights.anywhere("image.view"));
    case "network":
      return rights.in("network.view", known.project ?? "") || (known.spec.public && rights.anywhere("network.view"));
    case "task":
      if (known.project !== undefined) return rights.in("task.view", known.project);
      return rights.everywhere("task.view") || known.spec.requestedBy === caller.userName;
    case "host":
      return rights.anywhere("host.view");
    case "cluster":
      return rights.anywhere("cluster.view");
    case "pool":
      return rights.anywhere("pool.view");
    case "project":
      return rights.in("project.view", known.id);
    case "user":
      return rights.everywhere("user.view") || known.id === caller.userId;
    case "role":
      return rights.everywhere("user.view");
    case "token":
      return rights.everywhere("user.change") || (known.spec.user === caller.userId && rights.anywhere("token.own"));
  }
}

/** May `caller` do what needs `privilege` to this record? Only asked of records it may see. */
export function mayDo(caller: Caller, privilege: Privilege, record: AnyRecord | RecordOf<Kind>): boolean {
  if (privilege === "anyone" || privilege === "signed-in") return true;
  const known = record as AnyRecord; // as above
  if (known.kind === "token") return maySee(caller, known);
  if (known.kind === "project") return privilege === "project.view" ? maySee(caller, known) : caller.rights.everywhere(privilege);
  if (isProjectKind(known.kind) && known.project !== undefined) return caller.rights.in(privilege, known.project);
  if (known.kind === "task") return caller.rights.everywhere(privilege) || known.spec.requestedBy === caller.userName;
  return privilege.endsWith(".view") ? maySee(caller, known) : caller.rights.everywhere(privilege);
}

/** Rights of users, remembered until something they follow from changes. */
export class RightsBook {
  readonly #cache: RecordCache;
  readonly #known = new Map<string, Rights>();

  constructor(cache: RecordCache) {
    this.#cache = cache;
    cache.subscribe((_revision, changes) => {
      if (changes.some(({ kind }) => kind === "user" || kind === "role" || kind === "project")) this.#known.clear();
    });
  }

  of(user: RecordOf<"user">): Rights {
    let rights = this.#known.get(user.id);
    if (rights === undefined) {
      rights = this.#compute(user);
      this.#known.set(user.id, rights);
    }
    return rights;
  }

  #compute(user: RecordOf<"user">): Rights {
    const everywhere = new Set<Privilege>();
    const byProject = new Map<string, Set<Privilege>>();
    for (const grant of user.spec.grants) {
      const role = this.#cache.get("role", grant.role);
      if (role === undefined) continue;
      // A built-in role means what this version says, whatever was stored at the first start.
      const privileges = builtIn(role.name) ?? role.spec.privileges;
      if (grant.project === "*") for (const one of privileges) everywhere.add(one);
      else {
        const held = byProject.get(grant.project) ?? new Set();
        for (const one of privileges) held.add(one);
        byProject.set(grant.project, held);
      }
    }
    return new Rights(everywhere, byProject);
  }
}

export const isBuiltInRole = (name: string): name is keyof typeof builtInRoles => Object.hasOwn(builtInRoles, name);
const builtIn = (name: string): RoleSpec["privileges"] | undefined => (isBuiltInRole(name) ? [...builtInRoles[name]] : undefined);
