/**
 * Makes, changes and deletes documents of every kind, by the kind's rules. Each is one transaction with its audit entry and receipt.
 * Called by the routes; the only writer of the parts `spec`.
 */
import {
  addUsage,
  nameKey,
  noUsage,
  partKey,
  quotaUsageOf,
  recordPrefix,
  SheafError,
  type Kind,
  type QuotaUsage,
  type RecordOf,
  type SpecOf,
} from "@sheaf/model";
import { Draft } from "./draft.ts";
import { kindRules, type KindRules, type StoredPart } from "./kind-rules.ts";
import { blanked } from "./present.ts";
import { dryRun, type Planned, type Unchanged } from "./record-writer.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { aboveProjects } from "./references.ts";
import { sameJson } from "./refusals.ts";
import { addTask } from "./tasks.ts";

/** What a change is answered with: JSON text of the record, and its receipt. */
export interface Written {
  readonly id: string;
  readonly specRevision: number;
  readonly record: string;
  readonly task?: string;
}

export interface NewDocument<K extends Kind> {
  readonly name: string;
  readonly displayName?: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly number?: number | undefined;
  readonly spec: SpecOf<K>;
}

export class Documents {
  readonly #services: RecordServices;

  constructor(services: RecordServices) {
    this.#services = services;
  }

  /** @param given the spec as it came, before defaults. @param project absent for kinds above projects */
  create<K extends Kind>(
    kind: K,
    request: ChangeRequest,
    project: RecordOf<"project"> | undefined,
    document: NewDocument<K>,
    given: unknown,
  ): Promise<Written> {
    const { quotas, context } = this.#services;
    const plan = async (): Promise<Planned<Written>> => {
      const present = project === undefined ? undefined : this.#present(project);
      const planned = this.#planCreation(kind, request, present, document, given);
      if (present !== undefined) await quotas.use(planned.draft, present, planned.uses);
      return planned;
    };
    const run = () => (request.dryRun ? dryRun(plan, context.cache.revision) : this.#services.writer.write(request.asker, plan));
    return project === undefined ? run() : quotas.inTurn(project, run);
  }

  /** The project as it is now; refused when it is going. */
  #present(project: RecordOf<"project">): RecordOf<"project"> {
    const now = this.#services.context.cache.get("project", project.id);
    if (now === undefined || now.deletedAt !== undefined) throw new SheafError("not-found", `The project ${project.name} is being deleted.`);
    return now;
  }

  #planCreation<K extends Kind>(kind: K, request: ChangeRequest, project: RecordOf<"project"> | undefined, document: NewDocument<K>, given: unknown) {
    const { context, numbers } = this.#services;
    const rules = kindRules[kind] as KindRules<K>; // the table has the rules of each kind under its name
    const scope = project?.id ?? aboveProjects;
    const { name } = document;
    if (context.cache.byName(kind, scope, name) !== undefined) throw nameTaken(kind, name, project);
    const id = this.#services.newId();
    const draft = new Draft();
    const work: Work = { services: this.#services, request, draft, id, name, projectId: project?.id ?? "", now: context.clock.now() };
    draft.claimName(kind, scope, name, id, { refusal: () => nameTaken(kind, name, project) });
    if (project !== undefined) draft.unchanged(project);
    try {
      const completed = rules.create(work, document.spec, given);
      const number = kind === "vm" || kind === "image" ? numbers.claim(draft, kind, id, document.number) : undefined;
      if (number === undefined && document.number !== undefined)
        throw new SheafError("invalid-input", `A ${kind} has no number.`, {
          errors: [{ at: "/number", message: "goes with machines and images only" }],
        });
      const part: StoredPart<K> = {
        kind,
        id,
        name,
        ...(project === undefined ? {} : { project: project.id }),
        ...(document.displayName === undefined ? {} : { displayName: document.displayName }),
        labels: { ...document.labels },
        generation: 1,
        createdAt: work.now,
        createdBy: request.caller.userName,
        finalizers: [...rules.finalizers],
        ...(number === undefined ? {} : { number }),
        spec: completed.spec,
      };
      const shownPart = blanked(part);
      const shown = JSON.stringify(shownPart);
      draft.putText(partKey(kind, id, "spec"), shownPart === part ? shown : JSON.stringify(part));
      const verb = rules.verbs.create;
      const task = verb === undefined ? undefined : addTask(work, { verb, target: { kind, id, name }, generation: 1 });
      const own = quotaUsageOf(kind, completed.spec);
      return {
        draft,
        target: `${kind}/${id}`,
        project: project?.id,
        after: shown,
        receipt: { kind, id, ...(task === undefined ? {} : { task }) },
        uses: completed.alsoUses === undefined ? own : addUsage(own, completed.alsoUses),
        answer: (revision: number): Written => ({
          id,
          specRevision: revision,
          record: this.#recordText(part, shown, revision),
          ...(task === undefined ? {} : { task }),
        }),
      };
    } catch (error) {
      draft.abandon();
      throw error;
    }
  }

  /** The new record's text, from its part's text: it is not turned into JSON a second time. */
  #recordText(part: StoredPart<Kind>, shown: string, revision: number): string {
    // A record without status, as the cache will have it: only its state is asked for.
    const state = this.#services.presenter.state({ ...part, status: {}, revision, specRevision: revision } as unknown as RecordOf<Kind>);
    return `${shown.slice(0, -1)},"revision":${revision},"specRevision":${revision},"status":{}${state === undefined ? "" : `,"state":"${state}"`}}`;
  }

  /** @param wanted what is wanted, from the record as it is at that try */
  async change<K extends Kind>(kind: K, request: ChangeRequest, id: string, wanted: (record: RecordOf<K>) => WantedChange<K>): Promise<Written> {
    const { quotas, context } = this.#services;
    await this.#seen(request);
    const { project: projectId } = this.#live(kind, id);
    const plan = async (): Promise<Planned<Written> | Unchanged<Written>> => {
      const before = this.#live(kind, id);
      const planned = this.#planChange(kind, request, before, wanted(before));
      const project = before.project === undefined ? undefined : context.cache.get("project", before.project);
      if (!("unchanged" in planned) && project !== undefined && planned.uses !== undefined)
        await quotas.use(planned.draft, project, planned.uses, quotaUsageOf(kind, before.spec));
      return planned;
    };
    const run = () => (request.dryRun ? dryRun(plan, context.cache.revision) : this.#services.writer.write(request.asker, plan));
    const project = projectId === undefined ? undefined : context.cache.get("project", projectId);
    return project === undefined ? run() : quotas.inTurn(project, run);
  }

  #planChange<K extends Kind>(
    kind: K,
    request: ChangeRequest,
    before: RecordOf<K>,
    wanted: WantedChange<K>,
  ): (Planned<Written> & { readonly uses?: QuotaUsage }) | Unchanged<Written> {
    const rules = kindRules[kind] as KindRules<K>; // the table has the rules of each kind under its name
    const { context } = this.#services;
    const name = wanted.name ?? before.name;
    const draft = new Draft();
    const work: Work = { services: this.#services, request, draft, id: before.id, name, projectId: before.project ?? "", now: context.clock.now() };
    requireRevision(draft, request, before);
    try {
      const completed = wanted.spec === undefined ? { spec: before.spec } : rules.change(work, before, wanted.spec);
      if (name !== before.name) this.#rename(work, rules, before);
      const labels = wanted.labels ?? before.labels;
      const displayName = "displayName" in wanted ? wanted.displayName : before.displayName;
      const specChanged = !sameJson(completed.spec, before.spec);
      if (!specChanged && name === before.name && sameJson(labels, before.labels) && displayName === before.displayName) {
        draft.abandon();
        return { unchanged: this.#written(before) };
      }
      const { displayName: _old, ...part } = storedPart(before);
      const next = {
        ...part,
        name,
        labels: { ...labels },
        ...(displayName === undefined ? {} : { displayName }),
        generation: before.generation + (specChanged ? 1 : 0),
        spec: completed.spec,
      };
      draft.put(partKey(kind, before.id, "spec"), next);
      const verb = specChanged ? rules.verbs.change : undefined;
      const task = verb === undefined ? undefined : addTask(work, { verb, target: { kind, id: before.id, name }, generation: next.generation });
      const also = completed.alsoUses ?? noUsage;
      return {
        draft,
        target: `${kind}/${before.id}`,
        project: before.project,
        before: JSON.stringify(blanked(storedPart(before))),
        after: JSON.stringify(blanked(next)),
        receipt: { kind, id: before.id, ...(task === undefined ? {} : { task }) },
        ...(specChanged && quotaUsageOf(kind, completed.spec) !== noUsage ? { uses: addUsage(quotaUsageOf(kind, completed.spec), also) } : {}),
        answer: (revision) => this.#written({ ...before, ...next, revision, specRevision: revision }, task),
      };
    } catch (error) {
      draft.abandon();
      throw error;
    }
  }

  #rename<K extends Kind>(work: Work, rules: KindRules<K>, before: RecordOf<K>): void {
    const refusal = rules.refuseRename?.(before) ?? null;
    if (refusal !== null) throw new SheafError("state-refused", `${before.name} cannot be renamed: ${refusal}.`);
    const scope = before.project ?? aboveProjects;
    const project = before.project === undefined ? undefined : this.#services.context.cache.get("project", before.project);
    if (this.#services.context.cache.byName(before.kind, scope, work.name) !== undefined) throw nameTaken(before.kind, work.name, project);
    work.draft.claimName(before.kind, scope, work.name, before.id, { refusal: () => nameTaken(before.kind, work.name, project) });
    work.draft.delete(nameKey(before.kind, scope, before.name));
  }

  /**
   * Deletes a record. Kinds with finalisers are marked and go when these are released; others go at once. Kinds that others refer to are
   * marked first and looked at again: what came to refer to them meanwhile keeps them.
   */
  async remove<K extends Kind>(kind: K, request: ChangeRequest, id: string): Promise<Written> {
    const rules = kindRules[kind] as KindRules<K>; // as above
    await this.#seen(request);
    const plan = (): Planned<Written> => this.#planRemoval(kind, rules, request, this.#live(kind, id));
    if (request.dryRun) return dryRun(plan, this.#services.context.cache.revision);
    const written = await this.#services.writer.write(request.asker, plan);
    if (!rules.referred) return written;
    const { cache } = this.#services.context;
    const marked = cache.get(kind, id);
    if (marked === undefined) return written;
    // Everything that was written before the mark is in the cache now; what comes after it compares the marked record and fails.
    const using = this.#services.index.references(kind, id) > 0;
    if (using) await this.#keepAfterAll(request, marked);
    if (using) throw this.#inUse(kind, marked);
    if (rules.finalizers.length === 0 && rules.leavesTraces !== true) await this.#removeKeys(marked);
    return written;
  }

  #planRemoval<K extends Kind>(kind: K, rules: KindRules<K>, request: ChangeRequest, before: RecordOf<K>): Planned<Written> {
    const { index, context } = this.#services;
    const draft = new Draft();
    const work: Work = {
      services: this.#services,
      request,
      draft,
      id: before.id,
      name: before.name,
      projectId: before.project ?? "",
      now: context.clock.now(),
    };
    requireRevision(draft, request, before);
    const refusal = rules.refuseDelete?.(work, before) ?? null;
    if (refusal !== null) throw new SheafError("state-refused", `The ${kind} ${before.name} cannot be deleted: ${refusal}.`);
    if (rules.referred && index.references(kind, before.id) > 0) throw this.#inUse(kind, before);
    const next = { ...storedPart(before), deletedAt: work.now };
    const task =
      rules.verbs.delete === undefined ? undefined : addTask(work, { verb: rules.verbs.delete, target: { kind, id: before.id, name: before.name } });
    if (rules.referred || rules.leavesTraces === true || rules.finalizers.length > 0) draft.put(partKey(kind, before.id, "spec"), next);
    else removeKeys(draft, before);
    rules.cleanUp?.(work, before);
    return {
      draft,
      target: `${kind}/${before.id}`,
      project: before.project,
      before: JSON.stringify(blanked(storedPart(before))),
      receipt: { kind, id: before.id, ...(task === undefined ? {} : { task }) },
      answer: (revision) => this.#written({ ...before, ...next, revision, specRevision: revision }, task),
    };
  }

  #inUse(kind: Kind, record: RecordOf<Kind>): SheafError {
    const users = this.#services.index.referring(kind, record.id, 4);
    const shown = users.slice(0, 3).join(", ") + (users.length > 3 ? " and others" : "");
    return new SheafError("in-use", `The ${kind} ${record.name} is in use by ${shown}.`, { next: "Remove or change these first." });
  }

  /** Takes the mark of deletion off again. */
  async #keepAfterAll(request: ChangeRequest, marked: RecordOf<Kind>): Promise<void> {
    const { idempotency: _used, ...asker } = request.asker;
    await this.#services.writer.write({ ...asker, action: `${asker.action}.undo` }, () => {
      const draft = new Draft();
      const { deletedAt: _deletedAt, ...part } = storedPart(marked);
      draft.unchanged(marked);
      draft.put(partKey(marked.kind, marked.id, "spec"), part);
      return { draft, target: `${marked.kind}/${marked.id}`, project: marked.project, answer: () => undefined };
    });
  }

  /** Second half of a deletion that is in the audit trail already. Repeated by the deletion controller where this server dies in between. */
  async #removeKeys(marked: RecordOf<Kind>): Promise<void> {
    const { store, cache } = this.#services.context;
    const draft = new Draft();
    draft.unchanged(marked);
    removeKeys(draft, marked);
    const result = await store.transact({ compare: draft.conditions.map(({ compare }) => compare), then: draft.operations });
    await cache.waitFor(result.revision);
  }

  /** A record that can still be changed. @throws SheafError `not-found`, `state-refused` */
  #live<K extends Kind>(kind: K, id: string): RecordOf<K> {
    const record = this.#services.context.cache.get(kind, id);
    if (record === undefined) throw new SheafError("not-found", `There is no ${kind} ${id} any more.`);
    if (record.deletedAt !== undefined)
      throw new SheafError("state-refused", `The ${kind} ${record.name} is being deleted.`, { next: "Wait until it is gone." });
    return record;
  }

  /** The revision that the caller has seen may be newer than what this server has. */
  async #seen({ ifMatch }: ChangeRequest): Promise<void> {
    const { cache, store } = this.#services.context;
    if (typeof ifMatch === "number" && ifMatch > cache.revision && ifMatch <= (await store.revision())) await cache.waitFor(ifMatch);
  }

  #written(record: RecordOf<Kind>, task?: string): Written {
    return {
      id: record.id,
      specRevision: record.specRevision,
      record: this.#services.presenter.text(record),
      ...(task === undefined ? {} : { task }),
    };
  }
}

export interface WantedChange<K extends Kind> {
  readonly name?: string | undefined;
  /** Present and `undefined`: taken off. */
  readonly displayName?: string | undefined;
  readonly labels?: Readonly<Record<string, string>>;
  readonly spec?: SpecOf<K>;
}

/** What lies under `r/<kind>/<id>/spec`: the record without the other parts. Unknown fields stay. */
export function storedPart<K extends Kind>(record: RecordOf<K>): StoredPart<K> {
  const { status: _status, placement: _placement, revision: _revision, specRevision: _specRevision, ...part } = record;
  return part as unknown as StoredPart<K>; // what is left is the part
}

export function requireRevision(draft: Draft, { ifMatch }: ChangeRequest, record: RecordOf<Kind>): void {
  if (typeof ifMatch !== "number") return draft.unchanged(record);
  const refusal = (): SheafError =>
    new SheafError("precondition-failed", `The ${record.kind} ${record.name} was changed meanwhile: its spec is no longer at revision ${ifMatch}.`, {
      next: "Read it again, and repeat the change on what it is now.",
    });
  if (ifMatch !== record.specRevision) throw refusal();
  draft.unchanged(record, refusal);
}

/** All parts of a record, and its name. */
function removeKeys(draft: Draft, record: RecordOf<Kind>): void {
  draft.operations.push({ deletePrefix: recordPrefix(record.kind, record.id) });
  draft.delete(nameKey(record.kind, record.project ?? aboveProjects, record.name));
}

export function nameTaken(kind: Kind, name: string, project: RecordOf<"project"> | undefined): SheafError {
  return new SheafError("name-taken", `There is a ${kind} ${name} already${project === undefined ? "" : ` in project ${project.name}`}.`, {
    next: "Choose another name.",
    errors: [{ at: "/name", message: "is taken" }],
  });
}
