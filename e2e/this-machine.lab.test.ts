/**
 * `npm start` without a lab: the machine it runs on becomes the first host. A lab host stands for that machine: its libvirtd, its /run,
 * its network and its /var/lib/sheaf are its own.
 */
import assert from "node:assert/strict";
import { execFile, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { buildGuestImage, createLab, GUEST_IMAGE_CACHE, type Lab, type LabHost } from "@sheaf/lab";
import { labIdentity } from "../apps/server/deployment/lab-deployment.ts";
import { ended, until } from "../apps/server/deployment/processes.ts";

const root = join(import.meta.dirname, "..");
let folder: string;
let data: string;
let lab: Lab;
let machine: LabHost;
let other: LabHost;

before(
  async () => {
    folder = await mkdtemp(join(tmpdir(), "se-"));
    data = join(folder, "data");
    // It is built from Debian's packages, which a lab host does not reach.
    await buildGuestImage(GUEST_IMAGE_CACHE);
    await cp(GUEST_IMAGE_CACHE, join(data, "mini"), { recursive: true });
    const { labId, subnet } = labIdentity(folder);
    lab = createLab({ root: join(folder, "lab"), id: labId, gateway: `${subnet}.1/24` });
    machine = await lab.up("m1", `${subnet}.11`);
    other = await lab.up("m2", `${subnet}.12`);
    // As on a machine without an init system: nobody has started libvirtd.
    await must("kill $(cat /run/libvirtd.pid)");
    await until("libvirtd's end", 20_000, async () => !(await machine.answers()) || undefined);
  },
  { timeout: 120_000 },
);
after(
  async () => {
    await lab?.purge();
    await rm(folder, { recursive: true, force: true });
  },
  { timeout: 60_000 },
);

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, SHEAF_CONFIG: join(folder, "cli.json") });

async function run(line: string): Promise<{ code: number; stdout: string; stderr: string }> {
  return machine.exec(["sh", "-c", line], { cwd: root, env: environment(), timeoutMs: 180_000 });
}

async function must(line: string): Promise<string> {
  const result = await run(line);
  assert.equal(result.code, 0, `${line}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

const node = (program: string, ...words: string[]): string[] => [
  process.execPath,
  "--disable-warning=ExperimentalWarning",
  join(root, program),
  ...words,
];

/** @returns once it has told where it runs */
async function start(): Promise<ChildProcess> {
  const child = await machine.spawn(node("apps/server/start.ts", "--data", data), {
    cwd: root,
    env: environment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  await until("the start", 60_000, () => {
    if (child.exitCode !== null) throw new Error(`The start ended with ${child.exitCode}:\n${text}`);
    return text.includes("Ctrl-C stops Sheaf.") || undefined;
  }).catch((error: unknown) => {
    child.kill("SIGKILL");
    throw new Error(`The start said no more than this:\n${text}`, { cause: error });
  });
  return child;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  await ended(child);
}

const purge = (): Promise<{ code: number; stdout: string; stderr: string }> => run(node("apps/server/purge.ts", "--data", data).join(" "));
const guests = async (): Promise<number[]> => (await machine.qemuProcesses()).map(({ pid }) => pid);
const runs = (): Promise<true> =>
  until("the machine running again", 60_000, async () => / running /.test(await must("./sheaf vm list -o wide")) || undefined);

let starter: ChildProcess;

test("the machine is a host, and runs what is made on it", { timeout: 300_000 }, async () => {
  starter = await start();
  assert.match(await must("./sheaf host list"), / ready /);
  await must("./sheaf vm create hello --image mini --memory 128MiB --wait");
  assert.equal((await guests()).length, 1);
});

test("Ctrl-C leaves the guest running, and the next start knows it", { timeout: 300_000 }, async () => {
  const [guest] = await guests();
  await stop(starter, "SIGINT");
  assert.deepEqual(await guests(), [guest]);
  assert.equal(await must("pgrep -fc '[a]pps/(server|agent)/' || true"), "0\n");
  starter = await start();
  await runs();
  assert.deepEqual(await guests(), [guest]);
});

test("a purge is refused while the guest runs, and changes nothing", { timeout: 60_000 }, async () => {
  const refused = await purge();
  assert.equal(refused.code, 4, refused.stderr);
  assert.match(
    refused.stderr,
    /machines run here, and a purge would take their disks: sheaf-100-hello\. Shut them down first: `\.\/sheaf vm stop NAME`/,
  );
  assert.equal((await guests()).length, 1);
  await runs();
});

test("a purge of nothing leaves the hosts of other labs alone", { timeout: 60_000 }, async () => {
  await other.exec(["sh", "-c", "echo own >/var/lib/sheaf/kept"]);
  // On the machine outside, whose folder the hosts mount over: removing it would take the mounts away.
  const [program = "", ...words] = node("apps/server/purge.ts", "--data", join(folder, "none"));
  const { stdout } = await promisify(execFile)(program, words);
  assert.equal(stdout, "Nothing was there.\n");
  assert.equal((await other.exec(["cat", "/var/lib/sheaf/kept"])).stdout, "own\n");
});

test("a purge ends what a killed start left and takes away what it made", { timeout: 120_000 }, async () => {
  await must("./sheaf vm stop hello --wait");
  await stop(starter, "SIGKILL");
  const done = await purge();
  assert.equal(done.code, 0, done.stderr);
  assert.equal(existsSync(data), false);
  assert.equal(existsSync(join(folder, "cli.json")), false, "nothing is kept of a server that is gone");
  assert.deepEqual(await guests(), []);
  assert.deepEqual(await readdir(join(machine.directory, "agent")), [], "in the host's /var/lib/sheaf");
  assert.equal(await must("pgrep -fc '[a]pps/(server|agent)/|[l]ibvirtd' || true"), "0\n");
  assert.notEqual((await run("ip link show sheaf0")).code, 0);
  assert.deepEqual(await readdir(join(machine.directory, "etc/pki")).catch(() => []), []);
  assert.deepEqual(await readdir(join(machine.directory, "etc/qemu")), []);
});
