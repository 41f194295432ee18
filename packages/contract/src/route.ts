/** What a route is. No route without its privilege, its schemas and its possible problems. */
import type { Kind, Privilege, ProblemCode } from "@sheaf/model";
import type { z } from "zod";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface Route<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Output extends z.ZodType = z.ZodType,
> {
  /** Unique; the name of the client's function and of the operation in openapi.json: `vm.list`. */
  readonly name: string;
  readonly method: Method;
  /** Below `/api/v1`; parameters as `:id`. */
  readonly path: `/${string}`;
  readonly privilege: Privilege;
  readonly summary: string;
  /** Kind the route is about; its project decides about rights. */
  readonly kind?: Kind;
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly output: Output;
  /** Status of success; 200 where absent. */
  readonly status?: 200 | 201 | 202 | 204;
  /** Beyond those any route may answer (invalid-input, unauthenticated, not-allowed, throttled, unavailable, internal). */
  readonly errors: readonly ProblemCode[];
}

export const route = <P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType, O extends z.ZodType>(it: Route<P, Q, B, O>): Route<P, Q, B, O> =>
  it;
