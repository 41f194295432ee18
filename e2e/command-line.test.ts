/** What the command line promises, against a real server without hosts: exit codes, formats, colours, and what it does to the data folder. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { localClient, type LocalClient } from "../apps/server/deployment/local-client.ts";
import { until } from "../apps/server/deployment/processes.ts";
import { startServerProcess, type ServerProcess } from "../apps/server/deployment/server-process.ts";
import { signInCommandLine } from "../apps/server/deployment/sign-in.ts";

const root = join(import.meta.dirname, "..");
const port = 17_763;
let folder: string;
let dataDirectory: string;
let server: ServerProcess;
let client: LocalClient;

interface Result {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function run(
  program: string,
  words: readonly string[],
  options: { readonly input?: string; readonly until?: RegExp; readonly env?: Record<string, string> } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      cwd: root,
      env: { ...process.env, SHEAF_CONFIG: join(folder, "cli.json"), ...options.env },
      timeout: 30_000,
    });
    let out = "";
    let error = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      out += chunk;
      if (options.until?.test(out)) child.kill("SIGINT");
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (error += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 128, out, error }));
    child.stdin.end(options.input ?? "");
  });
}
const sheaf = (...words: string[]): Promise<Result> => run(join(root, "sheaf"), words);
async function must(...words: string[]): Promise<string> {
  const { code, out, error } = await sheaf(...words);
  assert.equal(code, 0, error + out);
  return out;
}

async function start(): Promise<void> {
  server = await startServerProcess({ dataDirectory, port, agentPort: port + 1, names: ["127.0.0.1"] });
  client = await localClient(dataDirectory, server);
  process.env["SHEAF_CONFIG"] = join(folder, "cli.json");
  await signInCommandLine(server, client);
}

before(
  async () => {
    folder = await mkdtemp(join(tmpdir(), "sheaf-cli-"));
    dataDirectory = join(folder, "data");
    await start();
    await client.cluster.create({ body: { name: "default", spec: {} } }).catch(() => {});
    await client.pool.create({ body: { name: "local", spec: { type: "local", path: "/srv/sheaf" } } });
    await client.network.create({ body: { name: "default", spec: { bridge: "br0", public: true } } });
  },
  { timeout: 60_000 },
);
after(
  async () => {
    client?.close();
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  },
  { timeout: 30_000 },
);

test("each exit code has its meaning", { timeout: 60_000 }, async () => {
  await client.user.create({ body: { name: "vera", spec: { password: "password of vera", grants: [{ role: "viewer", project: "*" }] } } });
  const viewer = await client.session.signIn({ body: { user: "vera", password: "password of vera" } });
  await writeFile(join(folder, "broken.iso"), "this is no ISO image");
  const cases: readonly (readonly [code: number, words: readonly string[], env?: Record<string, string>])[] = [
    [0, ["vm", "list"]],
    [0, ["--help"]],
    [0, ["vm", "create", "--help"]],
    [0, ["--version"]],
    [1, ["backup", "restore", "/no/such/file", "--data", join(folder, "nothing-there")]],
    [2, ["vm", "fly"]],
    [2, ["vm", "create", "web", "--memory", "much"]],
    [3, ["vm", "show", "nothing"]],
    [4, ["project", "create", "default"]],
    [4, ["image", "import", "broken", join(folder, "broken.iso"), "--wait"]],
    [5, ["project", "create", "shop"], { SHEAF_TOKEN: viewer.token }],
    [5, ["vm", "list"], { SHEAF_TOKEN: "none" }],
    [6, ["-s", "https://127.0.0.1:1", "vm", "list"]],
  ];
  for (const [code, words, env = {}] of cases) {
    const result = await run(join(root, "sheaf"), words, { env });
    assert.equal(result.code, code, `${words.join(" ")}\n${result.error}${result.out}`);
  }
});

test("machines made together are named web-01 to web-20, and every format shows them", { timeout: 60_000 }, async () => {
  const names = Array.from({ length: 20 }, (_, index) => `web-${String(index + 1).padStart(2, "0")}`);
  await must("vm", "create", "web", "--count", "20", "--memory", "128MiB", "--label", "tier=web");
  assert.deepEqual((await must("vm", "list", "--label", "tier=web", "--sort", "name", "-o", "name")).trim().split("\n"), names);
  assert.equal((JSON.parse(await must("vm", "list", "-o", "json")) as unknown[]).length, 20);
  assert.match(await must("vm", "list", "-o", "yaml"), /^- kind: vm$/m);
  assert.match(await must("vm", "list", "--limit", "3"), /^NAME +NUMBER +STATE .*\n(web-\d\d .*\n){3}$/);
  assert.match(await must("vm", "list", "-o", "wide"), /^NAME +ID +NUMBER .* REASON/);
  const part = await sheaf("vm", "create", "web", "--count", "21", "--memory", "128MiB");
  assert.equal(part.code, 4);
  assert.match(part.error, /1 of 21 .*created/);
  await must("vm", "delete", "--label", "tier=web");
});

test("--quiet leaves results alone; colours and bars are for terminals", { timeout: 60_000 }, async () => {
  const loud = await sheaf("host", "list");
  assert.deepEqual([loud.out, loud.error], ["", "none\n"]);
  assert.deepEqual(await sheaf("-q", "host", "list"), { code: 0, out: "", error: "" });
  assert.ok(!(await must("network", "list")).includes("\u001b"));
  const onTerminal = (env: Record<string, string> = {}): Promise<Result> =>
    run("script", ["-qec", `${join(root, "sheaf")} network list`, "/dev/null"], { env: { TERM: "xterm", ...env } });
  assert.match((await onTerminal()).out, /\u001b\[2mNAME/);
  assert.doesNotMatch((await onTerminal({ NO_COLOR: "1" })).out, /\u001b\[2m/);
});

test("apply shows the difference first, get gives back what apply takes, delete -f removes it", { timeout: 60_000 }, async () => {
  const file = join(folder, "net.yaml");
  await writeFile(
    file,
    "kind: network\nname: lan\nspec: {bridge: br1}\n---\nkind: vm\nname: app\nspec: {power: stopped, nics: [{name: a, network: lan}]}\n",
  );
  assert.match(await must("apply", "-f", file, "--dry-run"), /^network lan: would be created\n(\+ .*\n)+vm app: would be created\n/);
  assert.equal((await sheaf("network", "show", "lan")).code, 3);
  assert.equal(await must("apply", "-f", file), "network lan: created\nvm app: created\n");
  assert.equal(await must("apply", "-f", file), "network lan: unchanged\nvm app: unchanged\n");
  await writeFile(join(folder, "got.yaml"), await must("get", "network", "lan", "-o", "yaml"));
  assert.equal(await must("apply", "-f", join(folder, "got.yaml")), "network lan: unchanged\n");
  await writeFile(join(folder, "got.json"), await must("get", "network", "lan", "-o", "json"));
  assert.equal(await must("apply", "-f", join(folder, "got.json")), "network lan: unchanged\n");
  const changed = (await readFile(join(folder, "got.yaml"), "utf8")).replace("mtu: 1500", "mtu: 9000");
  assert.match((await run(join(root, "sheaf"), ["apply", "-f", "-", "--dry-run"], { input: changed })).out, /- {3}mtu: 1500\n\+ {3}mtu: 9000/);
  assert.match(await must("delete", "-f", file), /vm app: .*\nnetwork lan: deleted/);
});

test("watch and events show changes, and Ctrl-C ends them well", { timeout: 60_000 }, async () => {
  for (const [words, seen] of [
    [["watch", "project"], /"name":"seen-watch"/],
    [["events"], /project seen-events changed/],
  ] as const) {
    const watching = run(join(root, "sheaf"), words, { until: seen });
    let made = 0;
    const name = `seen-${words[0]}`;
    const change = setInterval(() => {
      made += 1;
      void (
        made === 1
          ? client.project.create({ body: { name, spec: {} } })
          : client.project.change({ params: { id: name }, body: { labels: { made: String(made) } } })
      ).catch(() => {});
    }, 300);
    const result = await watching.finally(() => clearInterval(change));
    assert.equal(result.code, 0, result.error);
    assert.match(result.out, seen);
  }
});

test("completion knows the names on the server", { timeout: 60_000 }, async () => {
  const script = `source <(${join(root, "sheaf")} completion bash); COMP_WORDS=(${join(root, "sheaf")} network show de); COMP_CWORD=3; _sheaf; echo "\${COMPREPLY[@]}"`;
  assert.equal((await run("bash", ["-c", script])).out, "default\n");
});

test("a support bundle holds none of the secrets", { timeout: 60_000 }, async () => {
  const secrets = { userData: "planted-user-data", password: "planted-guest-password", user: "planted-user-password", url: "planted-signature" };
  await client.vm.create({ body: { name: "planted", spec: { cloudInit: { userData: secrets.userData, password: secrets.password } } } });
  await client.user.create({ body: { name: "planted", spec: { password: secrets.user } } });
  const { record } = await client.image.create({
    body: { name: "planted", spec: { source: { url: `http://127.0.0.1:9/a?signature=${secrets.url}` } } },
  });
  await until("the end of the import", 20_000, async () =>
    (await client.image.get({ params: { id: record.id } }))["state"] === "failed" ? true : undefined,
  );
  const token = await client.token.create({ body: { name: "planted" } });
  const invitation = await client.host.invite({ body: { cluster: "default", line: false } });
  await client.session.signIn({ body: { user: "planted", password: `${secrets.user}-wrong` } }).catch(() => {});
  const file = join(folder, "bundle.json");
  await must("support", "bundle", file);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const bundle = await readFile(file, "utf8");
  const keys = await readFile(join(dataDirectory, "keys", "secrets.key"));
  const hidden = [
    ...Object.values(secrets),
    token.secret,
    invitation.token,
    client.sessionToken,
    (await readFile(join(dataDirectory, "admin-password"), "utf8")).trim(),
  ];
  for (const secret of [...hidden, keys.toString("hex"), keys.toString("base64"), "scrypt$", "PRIVATE KEY"])
    assert.ok(!bundle.includes(secret), `${secret.slice(0, 24)} is in the bundle`);
  const { version, log, images, counts } = JSON.parse(bundle) as Record<string, unknown>;
  assert.ok(typeof version === "string" && Array.isArray(log) && log.length > 0 && Array.isArray(images) && counts !== undefined);
  assert.ok(bundle.includes("http://127.0.0.1:9/a"), "but what was asked for is there");
});

test("a backup brings the store back, and a lost password is set anew on the server's own machine", { timeout: 90_000 }, async () => {
  await must("project", "create", "kept");
  const backup = JSON.parse(await must("backup", "create", "-o", "json")) as { file: string };
  await must("project", "create", "forgotten");
  const refused = await sheaf("backup", "restore", backup.file, "--data", dataDirectory);
  assert.equal(refused.code, 1, "not while the server has the store");
  assert.match(refused.error, /Nothing was restored/);
  assert.equal((await sheaf("admin", "reset-password", "admin", "--data", dataDirectory)).code, 1);
  client.close();
  await server.stop();
  assert.match(await must("backup", "restore", backup.file, "--data", dataDirectory), /Restored as incarnation/);
  const password = /new password of admin: (\S+)/.exec(await must("admin", "reset-password", "admin", "--data", dataDirectory))?.[1] ?? "";
  await writeFile(join(dataDirectory, "admin-password"), `${password}\n`);
  await start();
  await must("project", "show", "kept");
  assert.equal((await sheaf("project", "show", "forgotten")).code, 3);
  await writeFile(join(folder, "password"), `${password}\n`);
  await must("logout");
  assert.equal((await sheaf("whoami")).code, 5);
  await must("login", server.url, "--password-file", join(folder, "password"), "--ca-fingerprint", server.caFingerprint);
  assert.match(await must("whoami"), /^name: admin$/m);
});
