/**
 * Finds the record that a name or id in a request means. By id: wherever the caller may use it. By name: in the request's project, then
 * the public one of project `default`. Called by the record rules and the routes; answers from memory.
 */
import { idPattern, isProjectKind, type Kind, type ProjectKind, type RecordOf, SheafError } from "@sheaf/model";
import type { RecordCache } from "../context.ts";
import { maySee, type Caller } from "../identity/rights.ts";
import type { SiteIndex } from "./site-index.ts";

export const aboveProjects = "-";
export const defaultName = "default";
/** Label of the pool that is taken where none is named. */
export const defaultLabel = "sheaf/default";

export class References {
  readonly #cache: RecordCache;
  readonly #index: SiteIndex;

  constructor(cache: RecordCache, index: SiteIndex) {
    this.#cache = cache;
    this.#index = index;
  }

  /** The record a route is about. @throws SheafError `not-found`, also where the caller may not know of it */
  target<K extends Kind>(caller: Caller, kind: K, reference: string, project: string | undefined): RecordOf<K> {
    const record = idPattern.test(reference)
      ? this.#cache.get(kind, reference)
      : this.#cache.byName(kind, isProjectKind(kind) ? this.scope(caller, project) : aboveProjects, reference);
    if (record !== undefined && maySee(caller, record)) return record;
    if (record === undefined && /^\d{3,9}$/.test(reference) && (kind === "vm" || kind === "image")) {
      const numbered = this.#byNumber(kind as "vm" | "image" /* as the condition says */, Number(reference));
      if (numbered !== undefined && maySee(caller, numbered)) return numbered as RecordOf<K>; // `kind` is the one that was asked for
    }
    throw new SheafError(
      "not-found",
      `There is no ${kind} ${reference}${isProjectKind(kind) && !idPattern.test(reference) ? ` in project ${project ?? defaultName}` : ""}.`,
      {
        next: "Look at the list, or name the project it is in.",
      },
    );
  }

  /** A project by name or id; absent: `default`. @throws SheafError `not-found` */
  project(caller: Caller, reference: string | undefined, at = "project"): RecordOf<"project"> {
    const found = this.#project(reference ?? defaultName);
    if (found !== undefined && caller.rights.anythingIn(found.id)) return found;
    throw missing("project", reference ?? defaultName, at);
  }

  /** Id of the project in which a name is looked up. */
  scope(caller: Caller, reference: string | undefined): string {
    return this.project(caller, reference).id;
  }

  /**
   * A record above projects that a document refers to. Who may write the document may refer to hosts, clusters and pools.
   * @param at JSON pointer to the field
   */
  above<K extends Exclude<Kind, ProjectKind>>(kind: K, reference: string, at: string): RecordOf<K> {
    const record = idPattern.test(reference) ? this.#cache.get(kind, reference) : this.#cache.byName(kind, aboveProjects, reference);
    if (record === undefined || record.deletedAt !== undefined) throw missing(kind, reference, at);
    return record;
  }

  /** A volume of the same project. */
  volume(projectId: string, reference: string, at: string): RecordOf<"volume"> {
    const record = this.#own("volume", projectId, reference);
    if (record === undefined || record.deletedAt !== undefined) throw missing("volume", reference, at);
    return record;
  }

  /** A machine of the same project. */
  vm(projectId: string, reference: string, at: string): RecordOf<"vm"> {
    const record = this.#own("vm", projectId, reference);
    if (record === undefined || record.deletedAt !== undefined) throw missing("vm", reference, at);
    return record;
  }

  /** An image or network of the same project, or a public one. */
  shared<K extends "image" | "network">(kind: K, projectId: string, reference: string, at: string): RecordOf<K> {
    const record = this.findShared(kind, projectId, reference);
    if (record === undefined) throw missing(kind, reference, at);
    return record;
  }

  findShared<K extends "image" | "network">(kind: K, projectId: string, reference: string): RecordOf<K> | undefined {
    const own = this.#own(kind, projectId, reference);
    if (own !== undefined && own.deletedAt === undefined) return own;
    const home = this.#project(defaultName);
    const other = idPattern.test(reference) ? this.#cache.get(kind, reference) : home && this.#cache.byName(kind, home.id, reference);
    return other !== undefined && isPublic(other) && other.deletedAt === undefined ? other : undefined;
  }

  /** The pool where none is named: the one called `default`, else the one labelled `sheaf/default=true`, else the one called `local`. */
  defaultPool(at: string): RecordOf<"pool"> {
    const named = this.#cache.byName("pool", aboveProjects, defaultName);
    if (named !== undefined) return named;
    const labelled = [...this.#cache.all("pool")]
      .filter((pool) => pool.labels[defaultLabel] === "true")
      .sort((left, right) => (left.name < right.name ? -1 : 1))[0];
    const found = labelled ?? this.#cache.byName("pool", aboveProjects, "local");
    if (found !== undefined) return found;
    throw new SheafError(
      "invalid-input",
      "No storage pool is named, and there is none called default, labelled sheaf/default=true or called local.",
      {
        next: "Name a pool.",
        errors: [{ at, message: "is needed" }],
      },
    );
  }

  /** The cluster where none is named: `default`, else the only one. */
  defaultCluster(): RecordOf<"cluster"> | undefined {
    const named = this.#cache.byName("cluster", aboveProjects, defaultName);
    if (named !== undefined || this.#cache.count("cluster") !== 1) return named;
    return [...this.#cache.all("cluster")][0];
  }

  #own<K extends ProjectKind>(kind: K, projectId: string, reference: string): RecordOf<K> | undefined {
    if (!idPattern.test(reference)) return this.#cache.byName(kind, projectId, reference);
    const record = this.#cache.get(kind, reference);
    return record?.project === projectId ? record : undefined;
  }

  #project(reference: string): RecordOf<"project"> | undefined {
    return idPattern.test(reference) ? this.#cache.get("project", reference) : this.#cache.byName("project", aboveProjects, reference);
  }

  #byNumber<K extends "vm" | "image">(kind: K, number: number): RecordOf<K> | undefined {
    const id = this.#index.numbered(kind, number);
    return id === undefined ? undefined : this.#cache.get(kind, id);
  }
}

/** A union of two record types does not narrow by itself here: both have the field. */
const isPublic = (record: RecordOf<"image" | "network">): boolean => record.spec.public;

export const missing = (kind: Kind, reference: string, at: string): SheafError =>
  new SheafError("not-found", `There is no ${kind} ${reference} that can be used here.`, {
    next: `Look at the list of ${kind}s; names are looked up in the request's project, then among the public ones of project default.`,
    errors: [{ at, message: `there is no ${kind} ${reference}` }],
  });
