/** The API's description (OpenAPI 3.1), made from the contract's table. Served by the API; a golden copy is docs/reference/openapi.json. Pure. */
import { allRoutes, apiPrefix, rawRoutes, recordSchema, type Route } from "@sheaf/contract";
import { kinds, problems, specSchemas, type ProblemCode } from "@sheaf/model";
import { z } from "zod";

type Json = Readonly<Record<string, unknown>>;

/** Problems that any route may answer. */
const common: readonly ProblemCode[] = ["invalid-input", "unauthenticated", "not-allowed", "throttled", "unavailable", "internal"];

export function openApi(version: string): Json {
  const components = new Components();
  const paths: Record<string, Record<string, unknown>> = {};
  const sorted = [...allRoutes].sort((left, right) => (left.name < right.name ? -1 : 1));
  for (const route of sorted) {
    const path = (apiPrefix + route.path).replace(/:([a-zA-Z]+)/g, "{$1}");
    (paths[path] ??= {})[route.method.toLowerCase()] = operation(route, components);
  }
  for (const [name, route] of Object.entries(rawRoutes)) {
    const path = (apiPrefix + route.path).replace(/:([a-zA-Z]+)/g, "{$1}");
    (paths[path] ??= {})[route.method.toLowerCase()] = {
      operationId: `raw.${name}`,
      summary: route.summary,
      "x-sheaf-privilege": route.privilege,
      parameters: [...path.matchAll(/\{([a-zA-Z]+)\}/g)].map(([, parameter]) => ({
        name: parameter,
        in: "path",
        required: true,
        schema: { type: "string" },
      })),
      responses: { "200": { description: "See the summary" }, default: problem },
    };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Sheaf", version, license: { name: "Apache-2.0", identifier: "Apache-2.0" } },
    servers: [{ url: "/" }],
    security: [{ bearer: [] }],
    paths: Object.fromEntries(Object.entries(paths).sort(([left], [right]) => (left < right ? -1 : 1))),
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer", description: "A session's token (POST /sessions) or an API token" } },
      schemas: { ...components.schemas(), Problem: problemSchema },
    },
  };
}

function operation(route: Route, components: Components): Json {
  const codes = [...new Set([...common, ...route.errors])];
  const body = components.of(route.body, "input");
  const hasBody = route.method !== "GET" && route.method !== "DELETE" && Object.keys((body["properties"] as object | undefined) ?? body).length > 0;
  return {
    operationId: route.name,
    summary: route.summary,
    tags: [route.name.split(".")[0]],
    "x-sheaf-privilege": route.privilege,
    ...(route.privilege === "anyone" ? { security: [] } : {}),
    parameters: [...parameters(route.params, "path", components), ...parameters(route.query, "query", components), ...headers(route)],
    ...(hasBody ? { requestBody: { required: true, content: { "application/json": { schema: body } } } } : {}),
    responses: {
      [String(route.status ?? 200)]: { description: "Done", content: { "application/json": { schema: components.of(route.output, "output") } } },
      ...Object.fromEntries(
        [...Map.groupBy(codes, (code) => problems[code].status)]
          .sort(([left], [right]) => left - right)
          .map(([status, found]) => [String(status), { ...problem, description: found.join(", ") }]),
      ),
    },
  };
}

function headers(route: Route): Json[] {
  if (route.method === "GET" || route.privilege === "anyone") return [];
  const found: Json[] = [
    {
      name: "Idempotency-Key",
      in: "header",
      required: false,
      description: "A repetition with the same key is answered as the first time",
      schema: { type: "string", pattern: "^[A-Za-z0-9._:-]{1,128}$" },
    },
  ];
  if (route.path.includes(":id"))
    found.push({ name: "If-Match", in: "header", required: false, description: "The record's specRevision in quotes", schema: { type: "string" } });
  return found;
}

function parameters(schema: z.ZodType, place: "path" | "query", components: Components): Json[] {
  const { properties = {}, required = [] } = components.plain(schema, "input") as { properties?: Record<string, Json>; required?: string[] }; // parameters are objects
  return Object.entries(properties).map(([name, one]) => {
    const { description, ...rest } = one;
    return {
      name,
      in: place,
      required: place === "path" || (required.includes(name) && one["default"] === undefined),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

/** Big schemas that stand in many routes get a name; all others stand where they are. */
class Components {
  readonly #named = new Map<string, string>();
  readonly #schemas: Record<string, Json> = {};

  constructor() {
    for (const kind of kinds) this.#name(`${capital(kind)}Spec`, this.plain(specSchemas[kind], "output"));
    for (const kind of kinds) this.#name(`${capital(kind)}SpecInput`, this.plain(specSchemas[kind], "input"));
    for (const kind of kinds) this.#name(capital(kind), this.plain(recordSchema(kind), "output"));
  }

  of(schema: z.ZodType, io: "input" | "output"): Json {
    return this.#shorten(this.plain(schema, io)) as Json; // an object stays one
  }

  plain(schema: z.ZodType, io: "input" | "output"): Json {
    const { $schema: _schema, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any", target: "draft-2020-12" }) as Json; // JSON, by its making
    return rest;
  }

  schemas(): Json {
    return Object.fromEntries(Object.entries(this.#schemas).sort(([left], [right]) => (left < right ? -1 : 1)));
  }

  #name(name: string, schema: Json): void {
    const text = JSON.stringify(schema);
    if (this.#named.has(text)) return;
    this.#schemas[name] = this.#shorten(schema) as Json; // as above
    this.#named.set(text, name);
  }

  #shorten(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item) => this.#shorten(item));
    const name = this.#named.get(JSON.stringify(value));
    if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, this.#shorten(member)]));
  }
}

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

const problem: Json = {
  description: "A problem (RFC 9457)",
  content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
};
const problemSchema: Json = {
  type: "object",
  required: ["type", "title", "status", "detail", "code", "retry"],
  properties: {
    type: { type: "string", format: "uri" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    code: { type: "string", enum: Object.keys(problems) },
    retry: { type: "string", enum: ["never", "later", "after-change", "same-key"] },
    next: { type: "string" },
    cause: { type: "string" },
    errors: {
      type: "array",
      items: { type: "object", required: ["at", "message"], properties: { at: { type: "string" }, message: { type: "string" } } },
    },
    requestId: { type: "string" },
  },
};
