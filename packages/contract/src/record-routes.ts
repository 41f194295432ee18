/** The five routes every kind has. A kind that has only some of them picks. */
import { plurals, type Kind, type Privilege } from "@sheaf/model";
import type { z } from "zod";
import { Accepted, IdParams, ListOutput, ListQuery, newDocument, Nothing, OneQuery, PatchDocument, recordSchema, WriteQuery } from "./documents.ts";
import { route } from "./route.ts";

interface Privileges {
  readonly view: Privilege;
  readonly create: Privilege;
  readonly change: Privilege;
  readonly remove: Privilege;
}

/** @param spec what a client may send as `spec`: mostly the kind's own schema. */
export function recordRoutes<K extends Kind, S extends z.ZodType>(kind: K, spec: S, may: Privileges) {
  const base = `/${plurals[kind]}` as const;
  const one = `${base}/:id` as const;
  const record = recordSchema(kind);
  const input = newDocument(kind, spec);
  return {
    list: route({
      name: `${kind}.list`,
      method: "GET",
      path: base,
      privilege: may.view,
      summary: `List ${plurals[kind]}`,
      kind,
      params: Nothing,
      query: ListQuery,
      body: Nothing,
      output: ListOutput(record),
      errors: ["compacted"],
    }),
    get: route({
      name: `${kind}.get`,
      method: "GET",
      path: one,
      privilege: may.view,
      summary: `Show one ${kind}, by id or name`,
      kind,
      params: IdParams,
      query: OneQuery,
      body: Nothing,
      output: record,
      errors: ["not-found"],
    }),
    create: route({
      name: `${kind}.create`,
      method: "POST",
      path: base,
      privilege: may.create,
      summary: `Create a ${kind}`,
      kind,
      params: Nothing,
      query: WriteQuery,
      body: input,
      output: Accepted(record),
      status: 201,
      errors: ["name-taken", "not-found", "quota-exceeded", "no-capacity", "idempotency-mismatch", "state-refused", "uncertain", "store-full"],
    }),
    replace: route({
      name: `${kind}.replace`,
      method: "PUT",
      path: one,
      privilege: may.change,
      summary: `Replace what is wanted of a ${kind}`,
      kind,
      params: IdParams,
      query: WriteQuery,
      body: input,
      output: Accepted(record),
      errors: [
        "not-found",
        "conflict",
        "precondition-failed",
        "name-taken",
        "state-refused",
        "quota-exceeded",
        "no-capacity",
        "uncertain",
        "store-full",
      ],
    }),
    change: route({
      name: `${kind}.change`,
      method: "PATCH",
      path: one,
      privilege: may.change,
      summary: `Change a ${kind} by a JSON merge patch`,
      kind,
      params: IdParams,
      query: WriteQuery,
      body: PatchDocument,
      output: Accepted(record),
      errors: [
        "not-found",
        "conflict",
        "precondition-failed",
        "name-taken",
        "state-refused",
        "quota-exceeded",
        "no-capacity",
        "uncertain",
        "store-full",
      ],
    }),
    delete: route({
      name: `${kind}.delete`,
      method: "DELETE",
      path: one,
      privilege: may.remove,
      summary: `Delete a ${kind}`,
      kind,
      params: IdParams,
      query: WriteQuery,
      body: Nothing,
      output: Accepted(record),
      status: 202,
      errors: ["not-found", "conflict", "precondition-failed", "in-use", "state-refused", "uncertain", "store-full"],
    }),
  };
}
