import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createClient, type HttpRequest } from "@sheaf/client";
import { SheafError } from "@sheaf/model";
import type { Command } from "commander";
import type { Cli, GlobalOptions } from "./cli.ts";
import { numberedNames } from "./commands/arguments.ts";
import { wordsByPath } from "./commands/completion.ts";
import { chooseConnection, readConfig, writeConfig } from "./config-file.ts";
import { difference } from "./difference.ts";
import { width } from "./output.ts";
import { buildProgram } from "./program.ts";

/** Runs one command line against scripted answers; what it sent and wrote comes back. */
async function run(argv: string[], answer: (request: HttpRequest) => unknown, files: Record<string, string> = {}) {
  const requests: HttpRequest[] = [];
  const out: string[] = [];
  const cliOf = (program: Command): Cli => ({
    terminal: {
      out: (text) => out.push(text),
      note() {},
      progress() {},
      colors: false,
      interactive: false,
      ask: () => Promise.reject(new Error("asked")),
    },
    options: () => program.opts<GlobalOptions>(),
    connection: () => Promise.resolve({ url: "https://test:7443" }),
    client: () =>
      Promise.resolve(
        createClient({
          transport: async (request) => {
            requests.push(request);
            const result = answer(request);
            return result === undefined
              ? { status: 404, headers: {}, text: '{"code":"not-found","detail":"There is none."}' }
              : { status: 200, headers: {}, text: JSON.stringify(result) };
          },
        }),
      ),
    readFile: async (path) => files[path] ?? Promise.reject(new Error(`no ${path}`)),
    environment: {},
    newKey: () => "key",
    interrupted: new AbortController().signal,
  });
  await buildProgram(cliOf, () => 100_000).parseAsync(["node", "sheaf", ...argv]);
  return { requests, out: out.join("\n") };
}

const record = (name: string, spec: object = {}) => ({ kind: "vm", id: `id-${name}`, name, labels: {}, specRevision: 7, spec, status: {} });

test("machines made together are numbered, one alone is not", () => {
  assert.deepEqual(numberedNames("web", 1), ["web"]);
  assert.deepEqual(numberedNames("web", 3), ["web-01", "web-02", "web-03"]);
  assert.equal(numberedNames("web", 100)[99], "web-100");
});

test("vm create sends one creation a machine, each with a key of its own", async () => {
  const { requests } = await run(
    ["vm", "create", "web", "--image", "mini", "--memory", "128MiB", "--count", "3", "--label", "tier=web", "-p", "shop"],
    (request) => (request.method === "POST" ? { record: record(JSON.parse(request.body ?? "").name) } : { items: [] }),
  );
  const created = requests.filter((request) => request.method === "POST");
  assert.deepEqual(
    created.map((request) => JSON.parse(request.body ?? "").name),
    ["web-01", "web-02", "web-03"],
  );
  assert.equal(created[0]?.path, "/api/v1/vms?project=shop");
  assert.equal(created[0]?.headers["idempotency-key"], "key");
  const body = JSON.parse(created[0]?.body ?? "");
  assert.equal(body.spec.memory.bytes, 128 * 2 ** 20);
  assert.deepEqual(body.labels, { tier: "web" });
});

test("apply creates what is missing, changes what differs, leaves alone what is the same, in the order things need each other", async () => {
  const yaml =
    "kind: vm\nname: new\nspec: {}\n---\nkind: network\nname: net\nspec: {bridge: br0}\n---\nkind: vm\nname: same\nspec: {power: stopped}\n---\nkind: vm\nname: other\nspec: {power: stopped}\n";
  const { requests, out } = await run(
    ["apply", "-f", "x.yaml"],
    (request) => {
      if (request.method === "GET")
        return request.path.includes("/same")
          ? record("same", { power: "stopped" })
          : request.path.includes("/other")
            ? record("other", { power: "running" })
            : undefined;
      const body = JSON.parse(request.body ?? "");
      return { record: { ...record(body.name), ...body } };
    },
    { "x.yaml": yaml },
  );
  assert.deepEqual(out.split("\n"), ["network net: created", "vm new: created", "vm same: unchanged", "vm other: changed"]);
  const written = requests.filter((request) => request.method !== "GET" && !request.path.includes("dryRun=true"));
  assert.deepEqual(
    written.map((request) => `${request.method} ${request.path.split("?")[0]}`),
    ["POST /api/v1/networks", "POST /api/v1/vms", "PUT /api/v1/vms/id-other"],
  );
  assert.equal(written[2]?.headers["if-match"], '"7"');
});

test("apply --dry-run writes nothing and shows the difference", async () => {
  const { requests, out } = await run(
    ["apply", "-f", "x", "--dry-run"],
    (request) => (request.method === "GET" ? record("a", { power: "running" }) : { record: record("a", { power: "stopped" }) }),
    { x: "{kind: vm, name: a, spec: {power: stopped}}" },
  );
  assert.ok(requests.every((request) => request.method === "GET" || request.path.includes("dryRun=true")));
  assert.match(out, /^- {3}power: running$/m);
  assert.match(out, /^\+ {3}power: stopped$/m);
});

test("a broken document is refused before anything is sent", async () => {
  const bombs = `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]`;
  for (const text of [
    "",
    "kind: vm",
    "kind: gadget\nname: x\nspec: {}",
    "kind: vm\nname: x",
    "- 1",
    "{",
    "kind: vm\nkind: vm\nname: a\nspec: {}",
    bombs,
  ]) {
    let sent = 0;
    await assert.rejects(
      run(["apply", "-f", "x"], () => ((sent += 1), {}), { x: text }),
      () => true,
      text,
    );
    assert.equal(sent, 0, text);
  }
});

test("output is a table for people, and whole records for programs", async () => {
  const items = [{ ...record("web"), state: "running", spec: { cpu: { count: 2 }, memory: { bytes: 2 ** 30 } } }];
  assert.match((await run(["vm", "list"], () => ({ items }))).out, /^NAME +NUMBER +STATE +CPUS +MEMORY.*\nweb +- +running +2 +1 GiB/);
  assert.deepEqual(JSON.parse((await run(["-o", "json", "vm", "list"], () => ({ items }))).out), items);
  assert.equal((await run(["vm", "list", "-o", "name"], () => ({ items }))).out, "web");
});

test("all pages of a list are read", async () => {
  const { out } = await run(["vm", "list", "-o", "name"], (request) =>
    request.path.includes("cursor=c1") ? { items: [record("b")] } : { items: [record("a")], next: "c1" },
  );
  assert.equal(out, "a\nb");
});

test("the configuration is for its owner alone, and a broken one is told", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sheaf-cli-"));
  try {
    const path = join(folder, "sub", "config.json");
    assert.deepEqual(await readConfig(path), { servers: {} });
    await writeConfig(path, { current: "https://a:1", servers: { "https://a:1": { token: "t" } } });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(chooseConnection(await readConfig(path), undefined, {}), { url: "https://a:1", token: "t" });
    assert.deepEqual(chooseConnection(await readConfig(path), "https://b:1/", { SHEAF_TOKEN: "x" }), { url: "https://b:1", token: "x" });
    assert.throws(
      () => chooseConnection({ servers: {} }, undefined, {}),
      (error: SheafError) => error.code === "unauthenticated",
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("differences show what changed and little else", () => {
  assert.equal(difference("a\nb\n", "a\nb\n", false), "");
  assert.equal(difference("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nx\n6\n", false), "  3\n  4\n- 5\n+ x\n  6");
  assert.equal(difference("", "a\n", false), "+ a");
});

test("every command describes itself, and completion knows all of them", () => {
  const program = buildProgram(
    () => ({}) as Cli /* nothing runs */,
    () => 0,
  );
  const words = wordsByPath(program);
  for (const path of ["vm create", "host drain", "audit verify", "backup restore", "admin reset-password", "support bundle", "token create"])
    assert.ok(words.has(path), path);
  const check = (command: Command): void => {
    for (const each of command.commands) {
      assert.ok(each.description().length > 5, each.name());
      check(each);
    }
  };
  check(program);
});

test("Chinese takes two columns", () => assert.equal(width("主机a"), 5));
