/** One request as its handler sees it, and what it answers. */
import type { Route } from "@sheaf/contract";
import { isProjectKind, SheafError, type Kind, type Privilege, type RecordOf } from "@sheaf/model";
import type { z } from "zod";
import { mayDo, type Caller } from "../identity/rights.ts";
import type { Documents, Written } from "../records/documents.ts";
import type { Asker } from "../records/record-writer.ts";
import type { ChangeRequest } from "../records/record-services.ts";
import type { Services } from "./services.ts";

export interface Answer {
  readonly status?: number;
  /** JSON text. */
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface CallInput {
  readonly services: Services;
  readonly route: Route;
  /** `null` on routes that anyone may call. */
  readonly caller: Caller | null;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  /** The body as it came, before defaults. */
  readonly given: unknown;
  readonly asker: Asker;
  readonly ifMatch: number | "*" | undefined;
}

export class Call<P = unknown, Q = unknown, B = unknown> {
  readonly services: Services;
  readonly route: Route;
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly given: unknown;
  readonly asker: Asker;
  readonly #caller: Caller | null;
  readonly #ifMatch: number | "*" | undefined;

  constructor(input: CallInput) {
    this.services = input.services;
    this.route = input.route;
    // Parsed by the route's own schemas, see create-api.
    this.params = input.params as P;
    this.query = input.query as Q;
    this.body = input.body as B;
    this.given = input.given;
    this.asker = input.asker;
    this.#caller = input.caller;
    this.#ifMatch = input.ifMatch;
  }

  /** @throws SheafError `internal`: a route for anyone asked who it is */
  get caller(): Caller {
    if (this.#caller === null) throw new SheafError("internal", `The route ${this.route.name} needs a caller.`);
    return this.#caller;
  }

  get documents(): Documents {
    return this.services.documents;
  }

  change(dryRun = false): ChangeRequest {
    return { caller: this.caller, asker: this.asker, dryRun, ...(this.#ifMatch === undefined ? {} : { ifMatch: this.#ifMatch }) };
  }

  /** The record the route is about; the caller may see it and do what the route does. @throws SheafError `not-found`, `not-allowed` */
  target<K extends Kind>(kind: K, reference: string, project: string | undefined, privilege: Privilege = this.route.privilege): RecordOf<K> {
    const record = this.services.records.references.target(this.caller, kind, reference, project);
    if (!mayDo(this.caller, privilege, record)) throw notAllowed(privilege);
    return record;
  }

  /** The project a new record goes to. @throws SheafError `not-found`, `not-allowed` */
  projectFor(kind: Kind, reference: string | undefined): RecordOf<"project"> | undefined {
    if (!isProjectKind(kind)) {
      this.everywhere(this.route.privilege);
      return undefined;
    }
    const project = this.services.records.references.project(this.caller, reference);
    if (!this.caller.rights.in(this.route.privilege, project.id)) throw notAllowed(this.route.privilege);
    return project;
  }

  /** @throws SheafError `not-allowed` */
  everywhere(privilege: Privilege): void {
    if (!this.caller.rights.everywhere(privilege)) throw notAllowed(privilege);
  }
}

export const notAllowed = (privilege: Privilege): SheafError =>
  new SheafError("not-allowed", `This needs the privilege ${privilege}, which you do not hold here.`, {
    next: "Ask an administrator for a role that has it.",
  });

export const written = ({ record, task, specRevision }: Written): Answer => ({
  text: task === undefined ? `{"record":${record}}` : `{"record":${record},"task":"${task}"}`,
  headers: { etag: `"${specRevision}"` },
});

export type AnyHandler = (call: Call) => Promise<Answer> | Answer;

/** Binds a handler to its route, typed by the route's schemas. */
export function on<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, O extends z.ZodType>(
  route: Route<P, Q, B, O>,
  handler: (call: Call<z.output<P>, z.output<Q>, z.output<B>>) => Promise<Answer> | Answer,
): readonly [string, AnyHandler] {
  return [route.name, handler as AnyHandler]; // the server parses with this route's schemas before it calls
}

export const json = (value: unknown): Answer => ({ text: JSON.stringify(value) });
