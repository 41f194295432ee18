/**
 * Routes whose bodies are no JSON (watch, image content, screenshot, audit export), and what machines ask: health, readiness, metrics, the
 * API's own description. Mounted by `create-api`. Consoles are WebSockets: the gateway upgrades them, after `authorize`.
 */
import { Readable } from "node:stream";
import { apiPrefix, rawRoutes } from "@sheaf/contract";
import { kinds, problems, SheafError, type Kind } from "@sheaf/model";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { exportAudit } from "../audit/audit-reader.ts";
import { mayDo } from "../identity/rights.ts";
import { apiPage } from "./api-page.ts";
import { notAllowed } from "./call.ts";
import { addressOf, authenticate, problemType, type Door } from "./door.ts";
import { mountJoinRoutes } from "./join-routes.ts";
import { openApi } from "./open-api.ts";
import { invalidFields, problemText, toSheafError } from "./problem-answers.ts";

const WatchQuery = z.strictObject({
  kind: z.enum(kinds).optional(),
  project: z.string().max(63).optional(),
  id: z.string().max(63).optional(),
  revision: z.coerce.number().int().min(0).optional(),
});

export function mountRawRoutes(server: FastifyInstance, door: Door): void {
  mountWatch(server, door);
  mountImageContent(server, door);
  mountScreenshot(server, door);
  mountAuditExport(server, door);
  mountJoinRoutes(server, door);
  mountHealth(server, door);
  mountDescription(server, door);
}

function mountWatch(server: FastifyInstance, door: Door): void {
  server.get(apiPrefix + rawRoutes.watch.path, { config: { name: "watch" }, exposeHeadRoute: false }, async (request, reply) => {
    const who = () => authenticate(door, request.headers.authorization, addressOf(request));
    const caller = who();
    const parsed = WatchQuery.safeParse(request.query);
    if (!parsed.success) throw invalidFields(parsed.error, "query");
    const { context, records, hub } = door.services;
    const { kind, id } = parsed.data;
    if (id !== undefined && kind === undefined)
      throw new SheafError("invalid-input", "An id is watched together with its kind.", { errors: [{ at: "kind", message: "is needed with id" }] });
    const project = parsed.data.project === undefined ? undefined : records.references.scope(caller, parsed.data.project);
    const revision = lastEventId(request, context.store.incarnation) ?? parsed.data.revision;
    if (revision !== undefined) await context.cache.waitFor(revision, 10_000);
    const watched = id === undefined || kind === undefined ? undefined : records.references.target(caller, kind as Kind, id, parsed.data.project).id;
    hub.check(revision);
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-request-id": request.id,
      "x-accel-buffering": "no",
    });
    const sink = {
      write: (bytes: Buffer) => void (raw.writableEnded || raw.destroyed || raw.write(bytes)),
      get unread() {
        return raw.writableLength;
      },
      close: () => {
        raw.end();
        // Whoever does not read does not take the end either.
        if (raw.writableLength > context.settings.limits.watcherBufferBytes) raw.destroy();
      },
    };
    const filter = {
      ...(kind === undefined ? {} : { kind }),
      ...(project === undefined ? {} : { project }),
      ...(watched === undefined ? {} : { id: watched }),
    };
    raw.on("close", hub.add(caller, filter, revision, sink, who));
    raw.on("error", () => raw.destroy());
  });
}

/** The revision a watcher has seen: browsers send it by themselves when they come back. @throws SheafError `compacted` after a restore */
function lastEventId(request: FastifyRequest, incarnation: string): number | undefined {
  const header = request.headers["last-event-id"];
  if (header === undefined || header === "") return undefined;
  const [, revision, life] = (typeof header === "string" ? /^(\d{1,15})(?:\.([0-9a-f-]{36}))?$/.exec(header) : null) ?? [];
  if (revision === undefined)
    throw new SheafError("invalid-input", "Last-Event-ID must be the id of an event.", {
      errors: [{ at: "Last-Event-ID", message: "is no event's id" }],
    });
  if (life !== undefined && life !== incarnation)
    throw new SheafError("compacted", "The store was restored from a backup since that event.", {
      next: "List again, then watch from the list's revision.",
    });
  return Number(revision);
}

function mountImageContent(server: FastifyInstance, door: Door): void {
  const url = apiPrefix + rawRoutes.imageContent.path;
  const image = (request: FastifyRequest) => {
    const caller = authenticate(door, request.headers.authorization, addressOf(request));
    request.sheaf.caller = caller;
    const { id } = request.params as { id: string }; // the path has it
    const { project } = request.query as { project?: unknown }; // looked at in the next line
    const found = door.services.records.references.target(caller, "image", id, typeof project === "string" ? project : undefined);
    if (!mayDo(caller, "image.change", found)) throw notAllowed("image.change");
    if (!("upload" in found.spec.source)) throw new SheafError("state-refused", `The image ${found.name} is fetched from its URL, not uploaded.`);
    if (found.deletedAt !== undefined) throw new SheafError("state-refused", `The image ${found.name} is being deleted.`);
    return { caller, found };
  };
  server.route({
    method: "HEAD",
    url,
    config: { name: "image.content" },
    handler: async (request, reply) => {
      const { found } = image(request);
      const offset = await door.services.context.library.offset(found.id);
      return reply.code(200).header("upload-offset", String(offset)).header("content-length", "0").send();
    },
  });
  server.route({
    method: "PUT",
    url,
    config: { name: "image.content" },
    onRequest: async (request) => void image(request),
    handler: async (request, reply) => {
      const { caller, found } = image(request);
      if (!(request.body instanceof Readable)) throw new SheafError("unsupported-media", "An image's bytes are sent as application/octet-stream.");
      const range = contentRange(request);
      const receivedBytes = await door.services.context.library.receive(found.id, request.body, range);
      await door.services.trail.record({
        actor: caller.actor,
        from: addressOf(request),
        action: "image.content",
        target: `image/${found.id}`,
        result: "done",
        requestId: request.id,
        ...(found.project === undefined ? {} : { project: found.project }),
        after: JSON.stringify({ offset: range.offset, receivedBytes }),
      });
      return reply.code(200).type("application/json; charset=utf-8").send(JSON.stringify({ receivedBytes }));
    },
  });
}

/** `bytes 100-199/1000` or `bytes 100-199/*`; absent: all of it, from the beginning. */
function contentRange(request: FastifyRequest): { offset: number; totalBytes?: number } {
  const header = request.headers["content-range"];
  const length = request.headers["content-length"];
  if (header === undefined) return { offset: 0, ...(length === undefined ? {} : { totalBytes: Number(length) }) };
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(header);
  const [, from = "", to = "", total = "*"] = match ?? [];
  if (match === null || Number(to) < Number(from) || (total !== "*" && Number(to) >= Number(total)))
    throw new SheafError("invalid-input", "Content-Range must be bytes <first>-<last>/<size or *>.", {
      errors: [{ at: "Content-Range", message: "is malformed" }],
    });
  return { offset: Number(from), ...(total === "*" ? {} : { totalBytes: Number(total) }) };
}

function mountScreenshot(server: FastifyInstance, door: Door): void {
  server.get(apiPrefix + rawRoutes.screenshot.path, { config: { name: "vm.screenshot" } }, async (request, reply) => {
    const caller = authenticate(door, request.headers.authorization, addressOf(request));
    request.sheaf.caller = caller;
    const { id } = request.params as { id: string }; // the path has it
    const { project } = request.query as { project?: unknown }; // looked at in the next line
    const vm = door.services.records.references.target(caller, "vm", id, typeof project === "string" ? project : undefined);
    if (!mayDo(caller, "vm.console", vm)) throw notAllowed("vm.console");
    if (vm.placement === undefined) throw new SheafError("state-refused", `Machine ${vm.name} is on no host yet.`, { next: "Wait until it runs." });
    const shot = await door.services.context.agents.call(vm.placement.host, "vm.screenshot", { vmId: vm.id }, { timeoutMs: 15_000 });
    // Never what a browser would run: the type comes from an agent.
    const type = /^image\/(png|x-portable-pixmap|jpeg|webp)$/.test(shot.mime) ? shot.mime : "application/octet-stream";
    return reply.type(type).send(Buffer.from(shot.base64, "base64"));
  });
}

function mountAuditExport(server: FastifyInstance, door: Door): void {
  server.get(apiPrefix + rawRoutes.auditExport.path, { config: { name: "audit.export" } }, async (request, reply) => {
    const caller = authenticate(door, request.headers.authorization, addressOf(request));
    request.sheaf.caller = caller;
    if (!caller.rights.everywhere("audit.view")) throw notAllowed("audit.view");
    const { store, audit: folder } = door.services.context;
    return reply.type("application/x-ndjson; charset=utf-8").send(Readable.from(exportAudit({ store, folder })));
  });
}

function mountHealth(server: FastifyInstance, door: Door): void {
  server.get("/healthz", { config: { name: "healthz" } }, (_request, reply) => reply.type("text/plain; charset=utf-8").send("ok\n"));
  server.get("/readyz", { config: { name: "readyz" } }, async (request, reply) => {
    try {
      await door.services.context.store.revision();
      return await reply.type("text/plain; charset=utf-8").send("ready\n");
    } catch (error) {
      const problem = toSheafError(error);
      return reply.code(problems[problem.code].status).type(problemType).send(problemText(problem, request.id));
    }
  });
  server.get("/metrics", { config: { name: "metrics" } }, async (request, reply) => {
    // A collector on this machine needs no token.
    if (!isLoopback(addressOf(request))) {
      const caller = authenticate(door, request.headers.authorization, addressOf(request));
      request.sheaf.caller = caller;
      if (!caller.rights.everywhere("system.view")) throw notAllowed("system.view");
    }
    return reply.type("text/plain; version=0.0.4; charset=utf-8").send(await door.services.metrics.text());
  });
}

const isLoopback = (address: string): boolean => address === "::1" || address.startsWith("127.");

function mountDescription(server: FastifyInstance, door: Door): void {
  const { version } = door.services.context.settings;
  // Made when first asked for: most servers are never asked.
  let description: string | null = null;
  let page: string | null = null;
  server.get(`${apiPrefix}/openapi.json`, { config: { name: "openapi" } }, (_request, reply) => {
    description ??= JSON.stringify(openApi(version));
    return reply.type("application/json; charset=utf-8").send(description);
  });
  server.get(`${apiPrefix}/docs`, { config: { name: "docs" } }, (_request, reply: FastifyReply) => {
    page ??= apiPage();
    return reply.header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'").type("text/html; charset=utf-8").send(page);
  });
}
