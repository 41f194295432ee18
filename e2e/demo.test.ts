/**
 * `npm start -- --demo N` as its user meets it: a process without root's rights or libvirt, a command line that is signed in, machines that
 * are made and move, hosts that fail and machines that start elsewhere, and nothing left when it is stopped.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ended, until } from "../apps/server/deployment/processes.ts";

const root = join(import.meta.dirname, "..");
const port = 17_773;
const hosts = 8;
let folder: string;
let data: string;
let demo: ChildProcess;
let said = "";

interface Result {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** A program of ours to its end. */
function run(program: string, ...words: string[]): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { cwd: folder, env: { ...process.env, SHEAF_CONFIG: join(folder, "cli.json") }, timeout: 20_000 });
    let [out, error] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (error += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 128, out, error }));
  });
}
const server = (name: string, ...words: string[]): Promise<Result> =>
  run(process.execPath, "--disable-warning=ExperimentalWarning", join(root, "apps/server", name), ...words);
async function sheaf(...words: string[]): Promise<Result> {
  const result = await run(join(root, "sheaf"), ...words);
  assert.equal(result.code, 0, result.error + result.out);
  return result;
}
// oxlint-disable-next-line no-explicit-any -- JSON of every kind; who asks knows which, and fails where it is not there
const json = async (...words: string[]): Promise<any> => JSON.parse((await sheaf(...words, "-o", "json")).out);

before(
  async () => {
    folder = await mkdtemp(join(tmpdir(), "sheaf-demo-"));
    data = join(folder, "data");
    demo = spawn(
      process.execPath,
      [
        "--disable-warning=ExperimentalWarning",
        join(root, "apps/server/start.ts"),
        ...["--demo", String(hosts), "--pace", "8", "--data", data, "--port", String(port), "--agent-port", String(port + 1)],
      ],
      // Nobody's rights but the caller's, and no libvirt to be found: PATH has none.
      { cwd: folder, env: { HOME: folder, PATH: "/nowhere", SHEAF_CONFIG: join(folder, "cli.json") }, stdio: ["ignore", "pipe", "pipe"] },
    );
    for (const stream of [demo.stdout, demo.stderr]) stream?.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
    await until("the demonstration", 90_000, () => {
      assert.equal(demo.exitCode, null, said);
      return said.includes("Ctrl-C stops Sheaf") || undefined;
    });
  },
  { timeout: 120_000 },
);
after(async () => {
  demo.kill("SIGTERM");
  await ended(demo);
  await rm(folder, { recursive: true, force: true });
});

test("everything says that it is simulated", { timeout: 60_000 }, async () => {
  assert.match(said, /SIMULATED data centre of 8 hosts/);
  const { out, error } = await sheaf("host", "list");
  assert.match(error, /SIMULATED/);
  assert.doesNotMatch(out, /SIMULATED/, "what a script reads has no words in it that belong to nobody");
  assert.equal((await json("host", "show", "sim-0001")).labels.simulated, "true");
  const log = (await readFile(join(data, "logs/server.log"), "utf8")).trim().split("\n");
  for (const line of log) assert.equal(JSON.parse(line).simulated, true, line);
  const joining = await run(join(root, "sheaf"), "host", "add");
  assert.notEqual(joining.code, 0);
  assert.match(joining.error, /no real host can join/);
});

let made = 0;
/** @throws what came in between */
async function makeAndMove(): Promise<string> {
  const name = `mine-${(made += 1)}`;
  await sheaf("vm", "create", name, "--image", "mini", "--memory", "256MiB", "--wait");
  const before = await json("vm", "show", name);
  assert.equal(before.status.agent.state, "running");
  await sheaf("vm", "migrate", name, "--wait");
  const moved = await json("vm", "show", name);
  assert.notEqual(moved.placement.host, before.placement.host);
  assert.equal(moved.placement.epoch, before.placement.epoch + 1);
  return name;
}

test("a machine is made, seen, moved and removed through the command line", { timeout: 120_000 }, async () => {
  // Hosts fail here all the time: what one takes along is tried again with another machine.
  const mine = await until("a machine that moves", 100_000, () => makeAndMove().catch(() => undefined), 100);
  const audit = await json("audit", "list", "--limit", "200");
  assert.ok(JSON.stringify(audit).includes("vm.migrate"), "who moved it stands in the audit trail");
  await sheaf("vm", "delete", mine, "--wait");
});

test("its hosts have load, people work there, hosts fail and machines start elsewhere", { timeout: 300_000 }, async () => {
  const logged = async (what: RegExp): Promise<true | undefined> => what.test(await readFile(join(data, "logs/server.log"), "utf8")) || undefined;
  await until("a task of somebody else's", 60_000, async () => (await json("task", "list")).some(isOfPeople) || undefined, 500);
  await until("a host without power", 120_000, () => logged(/"part":"failures".*power is lost/), 500);
  await until("a machine that starts elsewhere", 120_000, () => logged(/a machine of a lost host starts elsewhere/), 500);
  assert.equal(await logged(/a promise is broken/), undefined);
  const { out, error } = await sheaf("capacity");
  assert.match(out + error, /[1-9]\d* running/);
});

const isOfPeople = (task: { readonly createdBy: string }): boolean => task.createdBy === "people";

test("it is stopped, nothing is left, and its folder is neither taken for a real one nor a real one for its own", { timeout: 120_000 }, async () => {
  const { pid } = JSON.parse(await readFile(join(data, "server.json"), "utf8"));
  demo.kill("SIGINT");
  await ended(demo);
  assert.equal(demo.exitCode, 0, said);
  assert.ok(!existsSync(`/proc/${pid}`), "the server has ended");
  const real = await server("main.ts", "--data", data, "--port", String(port));
  assert.equal(real.code, 1);
  assert.match(real.out + real.error, /holds a simulated data centre/);
  const other = join(folder, "other");
  await mkdir(other);
  await writeFile(join(other, "store.sqlite"), "somebody's");
  const refused = await server("start.ts", "--demo", "2", "--data", other, "--port", String(port));
  assert.equal(refused.code, 1);
  assert.deepEqual(await readdir(other), ["store.sqlite"]);
  // As `npm run purge` does it: what it was called by names the folder, too.
  const purged = await run(process.execPath, join(root, "tools/purge.mjs"), "--demo", "--data", data);
  assert.deepEqual([purged.code, purged.out], [0, `${data} is removed.\n`], purged.error);
  assert.ok(!existsSync(data), "purge removes it");
});
