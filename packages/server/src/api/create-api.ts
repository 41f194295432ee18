/**
 * The HTTP API: mounts every route of the contract's table, checks who asks and what for, and turns whatever happens into an answer or a
 * problem. Called by the start-up code, which listens and closes. Knows HTTP; knows nothing of records.
 */
import type { Duplex } from "node:stream";
import { allRoutes, apiPrefix, simulatedHeader, type Route } from "@sheaf/contract";
import { problems, SheafError, type Kind, type Privilege, type RecordOf } from "@sheaf/model";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { ServerContext } from "../context.ts";
import { maySee, mayDo, type Caller } from "../identity/rights.ts";
import { digestOf, Repeated, type Asker } from "../records/record-writer.ts";
import { Call, notAllowed, type Answer, type AnyHandler } from "./call.ts";
import { addressOf, answerProblem, authenticate, problemType, routeName, type Door, type Incoming } from "./door.ts";
import { handlerTable } from "./handlers.ts";
import { joinPaths } from "./join-routes.ts";
import { invalidFields, problemText, toSheafError } from "./problem-answers.ts";
import { mountRawRoutes } from "./raw-routes.ts";
import { RateGate } from "./rate-gate.ts";
import { parseBody } from "./request-body.ts";
import { startServices, stopServices, type Services } from "./services.ts";

export interface ApiOptions {
  /** PEM. With it: TLS, HTTP/2 and HTTP/1.1 on one port. Without (tests only): plain HTTP/1.1. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface Api {
  /** For `listen`, `server` (upgrades) and further routes. */
  readonly server: FastifyInstance;
  readonly services: Services;
  /**
   * For what does not come through the table: WebSockets. Checks session or token, right and record.
   * @throws SheafError `unauthenticated`, `not-allowed`, `not-found`
   */
  authorize<K extends Kind>(
    request: { readonly authorization: string | undefined; readonly from: string },
    privilege: Privilege,
    kind: K,
    reference: string,
    project?: string,
  ): { readonly caller: Caller; readonly record: RecordOf<K> };
  /** Ends watches, stops listening, writes what is still to be written to the audit trail. */
  close(): Promise<void>;
}

const jsonType = "application/json; charset=utf-8";
const idempotencyKeyPattern = /^[A-Za-z0-9._:-]{1,128}$/;
const allMethods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

/** The context's cache must be loaded. */
export async function createApi(context: ServerContext, options: ApiOptions = {}): Promise<Api> {
  const handlers = handlerTable();
  const services = await startServices(context);
  const server = newServer(context, options);
  const strangers = new RateGate(context.clock, context.settings.limits.strangersPerSecond);
  const door: Door = { services, strangers };
  server.decorateRequest("sheaf", null as unknown as Incoming); // every request gets its own in the first hook
  server.addHook("onRequest", async (request, reply) => {
    request.sheaf = { caller: null, rawBody: null, from: addressOf(request), startedAt: context.clock.monotonic() };
    reply.header("x-content-type-options", "nosniff").header("cache-control", "no-store").header("x-request-id", request.id);
    if (context.settings.simulated) reply.header(simulatedHeader, "true");
  });
  readBodies(server, context.settings.limits.bodyDepth);
  server.setErrorHandler((error, request, reply) => answerProblem(door, request, reply, routeName(request), error));
  server.setNotFoundHandler((request, reply) =>
    answerProblem(
      door,
      request,
      reply,
      "unknown",
      new SheafError("not-found", `There is nothing at ${request.url.slice(0, 200)}.`, { next: `See ${apiPrefix}/docs.` }),
    ),
  );
  for (const route of allRoutes) {
    const handler = handlers.get(route.name);
    if (handler === undefined) throw new Error(`the route ${route.name} has no handler`);
    mount(server, door, route, handler);
  }
  mountRawRoutes(server, door);
  mountOtherMethods(server, door);
  await server.ready();
  return {
    server,
    services,
    authorize(request, privilege, kind, reference, project) {
      const caller = authenticate(door, request.authorization, request.from);
      const record = services.records.references.target(caller, kind, reference, project);
      if (!maySee(caller, record) || !mayDo(caller, privilege, record)) throw notAllowed(privilege);
      return { caller, record };
    },
    async close() {
      services.hub.stop();
      await server.close();
      await stopServices(services);
    },
  };
}

function newServer(context: ServerContext, { tls }: ApiOptions): FastifyInstance {
  const { limits } = context.settings;
  const prefix = Buffer.from(context.random.bytes(4)).toString("hex");
  let requests = 0;
  const common = {
    logger: false,
    bodyLimit: limits.bodyBytes,
    genReqId: () => `${prefix}-${(requests += 1).toString(36)}`,
    forceCloseConnections: true,
    routerOptions: { ignoreTrailingSlash: false },
    frameworkErrors: (error: Error, _request: unknown, reply: unknown) => {
      // Before routing: the path could not be read.
      const answer = toSheafError(error);
      (reply as FastifyReply).code(problems[answer.code].status).type(problemType).send(problemText(answer, ""));
    },
    clientErrorHandler: answerUnreadable,
  } as const;
  if (tls === undefined) return fastify({ ...common, http: { maxHeaderSize: limits.headerBytes } }) as FastifyInstance;
  // The types tell HTTP/2 and HTTP/1 servers apart; the routes do not.
  return fastify({
    ...common,
    http2: true,
    https: { allowHTTP1: true, key: tls.key, cert: tls.cert, settings: { maxHeaderListSize: limits.headerBytes, maxConcurrentStreams: 256 } },
  }) as unknown as FastifyInstance;
}

/** What is no HTTP request at all, or one with too long a head: there is no request yet to answer, only a socket. */
function answerUnreadable(error: Error & { readonly code?: string }, socket: Duplex): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  const answer =
    error.code === "HPE_HEADER_OVERFLOW"
      ? new SheafError("too-large", "The request's headers are larger than the server takes.", {
          next: "Send fewer or shorter ones; long input goes into the body.",
        })
      : new SheafError("invalid-input", "This is no HTTP request that can be read.", { next: "Speak HTTP/1.1 or HTTP/2." });
  const text = problemText(answer, "");
  const { status } = problems[answer.code];
  if (!socket.writable) return void socket.destroy(error);
  socket.end(
    `HTTP/1.1 ${status} ${answer.code}\r\ncontent-type: ${problemType}\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
    () => socket.destroy(error),
  );
}

function readBodies(server: FastifyInstance, depth: number): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser<Buffer>(["application/json", "application/merge-patch+json"], { parseAs: "buffer" }, (request, bytes, done) => {
    try {
      refuseEncoded(request);
      request.sheaf.rawBody = bytes;
      done(null, parseBody(bytes, depth));
    } catch (error) {
      done(error as SheafError); // parseBody throws nothing else
    }
  });
  // The bytes of an image: read by their route alone, as a stream.
  server.addContentTypeParser("application/octet-stream", (request, payload, done) => {
    try {
      refuseEncoded(request);
      done(null, payload);
    } catch (error) {
      done(error as SheafError); // refuseEncoded throws nothing else
    }
  });
}

/** Bytes are taken as they come and texts are UTF-8: what says that it is otherwise would be misread. */
function refuseEncoded({ headers }: FastifyRequest): void {
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding !== "identity")
    throw new SheafError("unsupported-media", `The body is sent as ${encoding.slice(0, 50)}.`, { next: "Send it unpacked." });
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers["content-type"] ?? "")?.[1] ?? "utf-8";
  if (!/^utf-?8$/i.test(charset))
    throw new SheafError("unsupported-media", `The body is sent in ${charset.slice(0, 50)}.`, { next: "Send JSON in UTF-8." });
}

function mount(server: FastifyInstance, door: Door, route: Route, handler: AnyHandler): void {
  server.route({
    method: route.method,
    url: apiPrefix + route.path,
    config: { name: route.name },
    // Who asks is known before a body is read.
    onRequest: async (request) => {
      if (route.privilege === "anyone") return door.strangers.pass(addressOf(request));
      const caller = authenticate(door, request.headers.authorization, addressOf(request));
      request.sheaf.caller = caller;
      if (route.privilege !== "signed-in" && !caller.rights.anywhere(route.privilege)) throw notAllowed(route.privilege);
    },
    handler: async (request, reply) => {
      const answer = await answerOf(door, route, handler, request);
      const status = answer.status ?? route.status ?? 200;
      if (answer.headers !== undefined) reply.headers(answer.headers);
      door.services.metrics.answered(route.name, status, door.services.context.clock.monotonic() - request.sheaf.startedAt);
      return reply.code(status).type(jsonType).send(answer.text);
    },
  });
}

async function answerOf(door: Door, route: Route, handler: AnyHandler, request: FastifyRequest): Promise<Answer> {
  const params = route.params.safeParse(request.params);
  if (!params.success) throw invalidFields(params.error, "path");
  const query = route.query.safeParse(request.query);
  if (!query.success) throw invalidFields(query.error, "query");
  if (request.body !== undefined && request.sheaf.rawBody === null)
    throw new SheafError("unsupported-media", "This route reads JSON only.", { next: "Send application/json." });
  const given = request.body ?? {};
  const body = route.body.safeParse(given);
  if (!body.success) throw invalidFields(body.error, "body");
  const { caller } = request.sheaf;
  const asker = askerOf(request, route.name, caller);
  const call = new Call({
    services: door.services,
    route,
    caller,
    params: params.data,
    query: query.data,
    body: body.data,
    given,
    asker,
    ifMatch: route.method === "GET" ? undefined : ifMatchOf(request.headers["if-match"]),
  });
  try {
    return await handler(call);
  } catch (error) {
    if (error instanceof Repeated) return repeated(door, route, error);
    throw error;
  }
}

function askerOf(request: FastifyRequest, action: string, caller: Caller | null): Asker {
  const key = request.headers["idempotency-key"];
  const asker = { actor: caller?.actor ?? "(nobody)", userId: caller?.userId ?? "", from: addressOf(request), action, requestId: request.id };
  if (key === undefined || caller === null || request.method === "GET") return asker;
  if (typeof key !== "string" || !idempotencyKeyPattern.test(key))
    throw new SheafError("invalid-input", "The Idempotency-Key must be 1 to 128 letters, digits or . _ : -", {
      errors: [{ at: "Idempotency-Key", message: "is malformed" }],
    });
  return { ...asker, idempotency: { key, digest: digestOf(request.method, request.url, request.sheaf.rawBody?.toString("utf8") ?? "") } };
}

/** `"123"` or `*`. */
function ifMatchOf(header: string | undefined): number | "*" | undefined {
  if (header === undefined || header === "*") return header;
  const revision = /^"?(\d{1,15})"?$/.exec(header.trim())?.[1];
  if (revision === undefined)
    throw new SheafError("invalid-input", "If-Match must be the specRevision of the record in quotes, as the ETag gave it.", {
      errors: [{ at: "If-Match", message: "is malformed" }],
    });
  return Number(revision);
}

/** The request was made before: its answer again, from the record as it is now. */
function repeated({ services }: Door, route: Route, { receipt }: Repeated): Answer {
  if (route.name === "token.create")
    throw new SheafError("conflict", "This token was made by an earlier request with the same key; its secret was shown then.", {
      next: "Delete the token and make another.",
    });
  if (route.name === "vm.adopt") return { text: JSON.stringify({ task: receipt.task }) };
  const record = services.context.cache.get(receipt.kind as Kind /* written by the record writer */, receipt.id);
  if (record === undefined)
    throw new SheafError("not-found", `An earlier request with this Idempotency-Key was done; its ${receipt.kind} ${receipt.id} is gone since.`, {
      next: "Use a new key for a new request.",
    });
  const text = services.records.presenter.text(record);
  return {
    text: receipt.task === undefined ? `{"record":${text}}` : `{"record":${text},"task":"${receipt.task}"}`,
    headers: { etag: `"${record.specRevision}"`, "idempotency-replayed": "true" },
  };
}

/** A path that is there with a method that is not: a problem that says which are. */
function mountOtherMethods(server: FastifyInstance, door: Door): void {
  const known = new Map<string, Set<string>>();
  for (const url of [...allRoutes.map(({ path }) => apiPrefix + path), ...otherPaths])
    if (!known.has(url)) known.set(url, new Set(allMethods.filter((method) => server.hasRoute({ method, url }))));
  for (const [url, methods] of known) {
    const others = allMethods.filter((method) => !methods.has(method));
    if (others.length === 0) continue;
    const allow = [...methods].join(", ");
    server.route({
      method: others,
      url,
      config: { name: "unknown" },
      handler: (request, reply) => {
        reply.header("allow", allow);
        const error = new SheafError("method-not-allowed", `${request.method} is not known at ${request.url.slice(0, 200)}.`, {
          next: `Use one of ${allow}.`,
        });
        return answerProblem(door, request, reply, "unknown", error);
      },
    });
  }
}

const otherPaths = [
  "/healthz",
  "/readyz",
  "/metrics",
  ...joinPaths,
  `${apiPrefix}/openapi.json`,
  `${apiPrefix}/docs`,
  `${apiPrefix}/watch`,
  `${apiPrefix}/audit/export`,
];
