/** What every request passes through, whatever its route: who asks, and how a problem is answered. Called by `create-api` and the raw routes. */
import { problems, type ProblemCode } from "@sheaf/model";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Caller } from "../identity/rights.ts";
import { unauthenticated } from "../identity/sessions.ts";
import { problemText, toSheafError } from "./problem-answers.ts";
import type { RateGate } from "./rate-gate.ts";
import type { Services } from "./services.ts";

export const problemType = "application/problem+json";

export interface Door {
  readonly services: Services;
  readonly strangers: RateGate;
}

/** What the hooks leave for the handler. */
export interface Incoming {
  caller: Caller | null;
  rawBody: Buffer | null;
  /** The other end, IPv4 in its own spelling; kept, because a socket that has been closed no longer knows. */
  readonly from: string;
  startedAt: number;
}
declare module "fastify" {
  interface FastifyRequest {
    /** Set by the first hook of every request. */
    sheaf: Incoming;
  }
}

/** For the first hook; later it stands in `request.sheaf`. */
const peerOf = (request: FastifyRequest): string => ((request.ip as string | undefined) ?? "(gone)").replace(/^::ffff:(?=\d+\.)/, ""); // undefined where the socket has been closed already
export const addressOf = (request: FastifyRequest): string => (request.sheaf as Incoming | null)?.from ?? peerOf(request); // null before the first hook

/** @throws SheafError `unauthenticated`, `throttled` */
export function authenticate({ services, strangers }: Door, authorization: string | undefined, from: string): Caller {
  const bearer = authorization === undefined ? undefined : /^Bearer ([\x21-\x7e]+)$/i.exec(authorization)?.[1];
  try {
    if (bearer === undefined) throw unauthenticated();
    return services.sessions.authenticate(bearer);
  } catch (error) {
    strangers.pass(from);
    throw error;
  }
}

export const routeName = (request: FastifyRequest): string => (request.routeOptions.config as { name?: string } | undefined)?.name ?? "unknown";

/** Answers a problem, counts it, and logs what is our own fault. */
export function answerProblem({ services }: Door, request: FastifyRequest, reply: FastifyReply, route: string, thrown: unknown): FastifyReply {
  const error = toSheafError(thrown);
  const { status } = problems[error.code];
  const { context, metrics, refused } = services;
  const incoming = request.sheaf as Incoming | null; // null where the request failed before the first hook
  if (status >= 500)
    context.logger.error(
      {
        requestId: request.id,
        route,
        code: error.code,
        cause: error.extra.cause,
        error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
      },
      "a request failed",
    );
  else if (isAttempt(error.code, request.method))
    refused.add({ actor: incoming?.caller?.actor ?? "(nobody)", from: addressOf(request), action: route, code: error.code });
  metrics.refused(error.code);
  metrics.answered(route, status, incoming === null ? 0 : context.clock.monotonic() - incoming.startedAt);
  if (error.extra.retryAfterMs !== undefined) reply.header("retry-after", String(Math.ceil(error.extra.retryAfterMs / 1000)));
  if (error.code === "unauthenticated") reply.header("www-authenticate", 'Bearer realm="sheaf"');
  return reply.code(status).type(problemType).send(problemText(error, request.id));
}

/** What the audit trail counts: attempts to change something, and attempts to see what is not one's own. */
const isAttempt = (code: ProblemCode, method: string): boolean =>
  code === "unauthenticated" ||
  code === "not-allowed" ||
  code === "throttled" ||
  (method !== "GET" && method !== "HEAD" && code !== "not-found" && code !== "method-not-allowed");
