/** The table: every route mounted, described and documented; what lies beside it; TLS and HTTP/2. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { after, before, test } from "node:test";
import { allRoutes, apiPrefix, rawRoutes } from "@sheaf/contract";
import { problems } from "@sheaf/model";
import { loadSigner, makeRoot, makeServerCertificate } from "../authority/certificates.ts";
import { ApiFixture } from "../testing/api-fixture.ts";
import { createApi } from "./create-api.ts";
import { handlerTable } from "./handlers.ts";
import { openApi } from "./open-api.ts";

let fixture: ApiFixture;
before(async () => {
  fixture = await ApiFixture.start();
});
after(() => fixture.stop());

const reference = (file: string): URL => new URL(`../../../../docs/reference/${file}`, import.meta.url);

test("every route has a handler, and every handler a route", () => {
  assert.equal(handlerTable().size, new Set(allRoutes.map(({ name }) => name)).size);
});

test("every route is mounted", () => {
  for (const { method, path } of allRoutes) assert.ok(fixture.api.server.hasRoute({ method, url: apiPrefix + path }), `${method} ${path}`);
  const upgraded = new Set(["serialConsole", "vncConsole"]); // WebSockets, taken before HTTP
  for (const [name, { method, path }] of Object.entries(rawRoutes))
    if (!upgraded.has(name)) assert.ok(fixture.api.server.hasRoute({ method, url: apiPrefix + path }), path);
});

test("the description is the one that is kept", async () => {
  const file = reference("openapi.json");
  const made = `${JSON.stringify(openApi("0.1.0"), null, 2)}\n`;
  if (process.env["SHEAF_UPDATE_GOLDEN"] === "1") await writeFile(file, made);
  const kept = await readFile(file, "utf8").catch(() => "");
  assert.ok(kept === made, "docs/reference/openapi.json differs from the routes: SHEAF_UPDATE_GOLDEN=1 writes it anew");
});

test("the description is whole: each route once, each reference kept, nothing secret", async () => {
  const served = await fixture.get("/openapi.json", { token: null });
  assert.equal(served.body.openapi, "3.1.0");
  const operations = Object.values(served.body.paths as Record<string, Record<string, { operationId: string }>>).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId),
  );
  assert.equal(new Set(operations).size, operations.length);
  for (const { name } of allRoutes) assert.ok(operations.includes(name), name);
  for (const [, name] of served.text.matchAll(/"#\/components\/schemas\/([A-Za-z]+)"/g))
    assert.ok(served.body.components.schemas[name ?? ""] !== undefined, name);
});

test("docs/reference/errors.md and the list of problems say the same", async () => {
  const text = await readFile(reference("errors.md"), "utf8");
  const rows = new Map(
    [...text.matchAll(/^\| `([a-z-]+)` \| (\d+) \| (\d+) \| ([a-z-]+) \| (.*) \|$/gm)].map(([, code = "", status, exit, retry, meaning]) => [
      code,
      { status: Number(status), exit: Number(exit), retry, meaning },
    ]),
  );
  assert.deepEqual([...rows.keys()].sort(), Object.keys(problems).sort());
  for (const [code, { status, exit, retry, meaning }] of Object.entries(problems))
    assert.deepEqual(rows.get(code), { status, exit, retry, meaning: meaning.replaceAll("|", "\\|") }, code);
});

test("the page for people stands alone", async () => {
  const page = await fixture.get("/docs", { token: null });
  assert.equal(page.status, 200);
  for (const { path } of allRoutes) assert.ok(page.text.includes(path), path);
  assert.doesNotMatch(page.text, /<script|https?:\/\//);
});

test("another method on a path says which there are", async () => {
  const reply = await fixture.request("PATCH", "/vms", {});
  assert.deepEqual([reply.status, reply.body.code], [405, "method-not-allowed"]);
  assert.match(reply.headers.get("allow") ?? "", /GET/);
  assert.match(reply.headers.get("allow") ?? "", /POST/);
});

test("health, readiness and metrics", async () => {
  assert.equal((await fixture.get("//healthz", { token: null })).text, "ok\n");
  assert.equal((await fixture.get("//readyz", { token: null })).text, "ready\n");
  await fixture.get("/vms");
  const metrics = await fixture.get("//metrics", { token: null });
  assert.match(metrics.text, /sheaf_http_requests_total\{route="vm.list",status="200"\} \d+/);
  assert.match(metrics.text, /sheaf_records\{kind="user"\} 1/);
  assert.match(metrics.text, /sheaf_store_transactions_total\{result="done"\} \d+/);
  assert.match(metrics.text, /sheaf_build_info\{version="0.1.0"\} 1/);
  // Prometheus' conventions: counters end in _total, times are in seconds, everything has a help text.
  for (const [, name = "", type = ""] of metrics.text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    assert.equal(name.endsWith("_total"), type === "counter", name);
    assert.doesNotMatch(name, /(milliseconds|_ms|minutes)$/);
    if (type === "histogram") assert.match(name, /_(seconds|bytes)$/);
    assert.ok(metrics.text.includes(`# HELP ${name} `), name);
  }
});

test("version, backup and support bundle", async () => {
  const version = await fixture.get("/version", { token: null });
  assert.deepEqual([version.body.version, version.body.api], ["0.1.0", "v1"]);
  assert.equal((await fixture.request("POST", "/backups", {})).body.file, "backup-1.sqlite");
  const bundle = await fixture.get("/support-bundle");
  assert.deepEqual([bundle.body.counts.user, bundle.body.log], [1, ["a line of the log"]]);
  assert.ok(!bundle.text.includes("scrypt$"));
  await fixture.make("/images", { name: "signed", spec: { source: { url: "https://example.org/a.qcow2?signature=hunter2" } } });
  const signed = await fixture.get("/support-bundle");
  assert.match(signed.text, /https:..example.org.a.qcow2\?\(secret\)/);
  assert.ok(!signed.text.includes("hunter2"));
});

test("a header that is too long is refused before anything reads it", async () => {
  const reply = await fixture.get("/vms", { headers: { "x-long": "a".repeat(20_000) } });
  assert.equal(reply.status, 413);
  assert.equal(reply.body.code, "too-large");
});

test("over TLS the port speaks HTTP/2", async () => {
  const now = fixture.clock.now();
  const root = await loadSigner(await makeRoot("test", { now, days: 1 }, fixture.context.random));
  const { certificate, privateKey } = await makeServerCertificate(root, ["localhost"], { now, days: 1 }, fixture.context.random);
  const secure = await createApi(fixture.context, { tls: { key: privateKey, cert: certificate } });
  const url = await secure.server.listen({ host: "127.0.0.1", port: 0 });
  const session = connect(url, { rejectUnauthorized: false });
  try {
    const stream = session.request({ ":path": `${apiPrefix}/vms`, authorization: `Bearer ${fixture.token}` });
    let text = "";
    stream.setEncoding("utf8");
    const status = await new Promise((resolve) => stream.on("response", (headers) => resolve(headers[":status"])));
    for await (const chunk of stream) text += chunk;
    assert.equal(status, 200);
    assert.equal(JSON.parse(text).total, 0);
    assert.equal(session.alpnProtocol, "h2");
  } finally {
    session.close();
    await secure.close();
  }
});
