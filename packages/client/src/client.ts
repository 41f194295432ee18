/**
 * The typed client, inferred from the contract's routes: `client.vm.create({ body })`. Used by the command line, the console and
 * the tests; browser and Node differ only in the transport they hand in. It checks nothing itself: the server does.
 */
import { apiPrefix, routes, type Route } from "@sheaf/contract";
import { SheafError, problems, type ProblemCode, type ProblemDetails, type ProblemExtra } from "@sheaf/model";
import type { z } from "zod";

export interface HttpRequest {
  readonly method: string;
  /** Path and query, from `/`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}
export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly text: string;
}
/** Throws `SheafError` `unavailable` or `timed-out` where no answer comes. */
export type Transport = (request: HttpRequest) => Promise<HttpResponse>;

export interface CallInput {
  readonly params?: Record<string, string>;
  readonly query?: Record<string, string | number | boolean | undefined>;
  readonly body?: unknown;
  /** Makes a repeated creation the same creation. */
  readonly idempotencyKey?: string;
  /** Spec revision that must still be current. */
  readonly ifMatch?: number;
  readonly signal?: AbortSignal;
}

type OutputOf<R> = R extends Route<z.ZodType, z.ZodType, z.ZodType, infer O> ? z.output<O> : never;
type BodyOf<R> = R extends Route<z.ZodType, z.ZodType, infer B, z.ZodType> ? z.input<B> : never;
export type Call<R> = (input?: Omit<CallInput, "body"> & { readonly body?: BodyOf<R> }) => Promise<OutputOf<R>>;
export type Client = { readonly [G in keyof typeof routes]: { readonly [N in keyof (typeof routes)[G]]: Call<(typeof routes)[G][N]> } } & {
  /** For paths outside the table (openapi.json, metrics). */
  readonly raw: (request: Omit<HttpRequest, "headers"> & { readonly headers?: Record<string, string> }) => Promise<HttpResponse>;
};

export interface ClientOptions {
  readonly transport: Transport;
  /** Session or API token. */
  readonly token?: string;
}

export function createClient(options: ClientOptions): Client {
  const authorization: Record<string, string> = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
  const raw: Client["raw"] = async (request) => {
    const response = await options.transport({ ...request, headers: { ...authorization, ...request.headers } });
    if (response.status >= 400) throw toError(response);
    return response;
  };
  const call = async (route: Route, input: CallInput = {}): Promise<unknown> => {
    const body = input.body === undefined ? (route.method === "GET" || route.method === "DELETE" ? undefined : "{}") : JSON.stringify(input.body);
    const response = await raw({
      method: route.method,
      path: apiPrefix + fillPath(route.path, input.params ?? {}) + queryText(input.query ?? {}),
      headers: {
        accept: "application/json, application/problem+json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(input.idempotencyKey === undefined ? {} : { "idempotency-key": input.idempotencyKey }),
        ...(input.ifMatch === undefined ? {} : { "if-match": `"${input.ifMatch}"` }),
      },
      ...(body === undefined ? {} : { body }),
      ...(input.signal === undefined ? {} : { signal: input.signal }),
    });
    return response.text === "" ? {} : JSON.parse(response.text);
  };
  const groups = Object.entries(routes).map(([group, members]) => [
    group,
    Object.fromEntries(
      Object.entries(members).map(([name, member]) => [name, (input?: CallInput) => call(member as Route /* every member is one */, input)]),
    ),
  ]);
  return { ...Object.fromEntries(groups), raw } as Client; // built from the same table the type is
}

export function fillPath(path: string, params: Readonly<Record<string, string>>): string {
  return path.replace(/:([a-zA-Z]+)/g, (_, name: string) => {
    const value = params[name];
    if (value === undefined) throw new SheafError("invalid-input", `The path ${path} needs the parameter ${name}.`);
    return encodeURIComponent(value);
  });
}

export function queryText(query: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`],
  );
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

/** A problem of the server as the error it was there; anything else that answered (a proxy) is told apart. */
export function toError(response: HttpResponse): SheafError {
  let problem: Partial<ProblemDetails> = {};
  try {
    problem = (JSON.parse(response.text) ?? {}) as Partial<ProblemDetails>; // every field is looked at below
  } catch {
    // Not JSON: told below by its status.
  }
  if (problem.code === undefined || !Object.hasOwn(problems, problem.code)) {
    return new SheafError("unavailable", `The server answered ${response.status} without a problem that Sheaf knows; is a proxy between?`, {
      cause: response.text.slice(0, 500),
    });
  }
  const { next, cause, errors, detail } = problem;
  const retryAfter = Number(response.headers["retry-after"]);
  const extra: ProblemExtra = {
    ...(next === undefined ? {} : { next }),
    ...(cause === undefined ? {} : { cause }),
    ...(errors === undefined ? {} : { errors }),
    ...(retryAfter > 0 ? { retryAfterMs: retryAfter * 1000 } : {}),
  };
  return new SheafError(problem.code as ProblemCode /* looked up in the list above */, detail ?? problems[problem.code].meaning, extra);
}
