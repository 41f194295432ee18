/**
 * A new host joins by the very line that `sheaf host add` prints, on a machine where no Node can be reached, and is taken off again.
 * The lab host stands for a machine without systemd; the rest of what the line does is the same.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { CommandResult, LabHost } from "@sheaf/lab";
import { until } from "../apps/server/deployment/processes.ts";
import manifest from "../package.json" with { type: "json" };
import { guestAnswers } from "./guest.ts";
import { plantBrokenAgent, plantVersion } from "./other-version.ts";
import { openSite, type Site } from "./site.ts";

const root = join(import.meta.dirname, "..");
/** Where the line writes on a real machine: here the host's own folders are mounted there. */
const places = { programs: "/opt/sheaf", configuration: "/etc/sheaf" };
const { version: present } = manifest;
let site: Site;
let host: LabHost;
/** Trees that servers of other versions run from, and `current`, a link to the one that is started. */
let trees: string;
/** Mount points that were not on this machine before. */
const made: string[] = [];

before(
  async () => {
    for (const path of Object.values(places)) {
      if (existsSync(path)) continue;
      await mkdir(path);
      made.push(path);
    }
    trees = await mkdtemp(join(tmpdir(), "sheaf-trees-"));
    await symlink(root, join(trees, "current"));
    const serverProgram = { path: join(trees, "current/apps/server/main.ts"), said: () => {} };
    site = await openSite({ hosts: 1, port: 17_643, serverProgram });
    host = await upWithPlaces("h2", 2);
    await hideNode();
    await asDistributionsSetIt();
  },
  { timeout: 180_000 },
);
after(
  async () => {
    await site?.close();
    await rm(trees, { recursive: true, force: true });
    for (const path of made) await rmdir(path);
  },
  { timeout: 60_000 },
);

/** A lab host that has its own of every place where the line writes. */
async function upWithPlaces(name: string, index: number): Promise<LabHost> {
  const up = await site.deployment.lab.up(name, site.deployment.addressOf(index));
  for (const [folder, path] of Object.entries(places)) {
    await mkdir(join(up.directory, folder));
    assert.equal((await up.exec(["mount", "--bind", join(up.directory, folder), path])).code, 0);
  }
  return up;
}

async function must(argv: readonly string[]): Promise<string> {
  const result = await host.exec(argv);
  assert.equal(result.code, 0, `${argv.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

/** In this host's own view of the file system: the repository is gone, and every Node that the search path leads to is no program. */
async function hideNode(): Promise<void> {
  const empty = join(host.directory, "empty");
  await writeFile(empty, "");
  await must(["mount", "-t", "tmpfs", "hidden", root]);
  for (;;) {
    const { stdout } = await host.exec(["sh", "-c", "command -v node"]);
    const found = stdout.trim();
    if (found === "") return;
    const real = (await must(["readlink", "-f", found])).trim();
    await must(["mount", "--bind", empty, real]);
  }
}

/** QEMU as a user of its own, who gets each disk as it is used: what Debian's packages set up. Lab hosts run it as root. */
async function asDistributionsSetIt(): Promise<void> {
  const file = join(host.directory, "etc/qemu.conf");
  const text = await readFile(file, "utf8");
  const changed = text
    .replace(/^user = .*$/m, 'user = "libvirt-qemu"')
    .replace(/^group = .*$/m, 'group = "libvirt-qemu"')
    .replace(/^dynamic_ownership = .*$/m, "dynamic_ownership = 1");
  assert.notEqual(changed, text);
  await writeFile(file, changed);
  await host.restartLibvirtd();
}

/** The line for a new host, as a person copies it. */
async function askForLine(...words: string[]): Promise<string> {
  const line = (await site.must("host", "add", ...words)).trim();
  assert.ok(!line.includes("\n") && line.startsWith("sh -c "), line);
  return line;
}

/** Types it into a shell. @param without programs that this machine has not */
async function type(line: string, without: readonly string[] = []): Promise<CommandResult> {
  const before = without.map((name) => `mount --bind ${host.directory}/empty $(readlink -f $(command -v ${name})) &&`).join(" ");
  return host.exec(["unshare", "--mount", "sh", "-c", `${before} ${line}`], { timeoutMs: 120_000 });
}

/** Everything that a joining could have left on the host. */
async function traces(): Promise<string[]> {
  const folders = ["programs", "configuration", "agent"];
  return (await Promise.all(folders.map((name) => readdir(join(host.directory, name))))).flat();
}

async function refused(line: string, code: number, words: RegExp): Promise<void> {
  const result = await type(line);
  assert.equal(result.code, code, result.stderr);
  assert.match(result.stderr, words);
  assert.deepEqual(await traces(), []);
  assert.equal(await knownHosts(), 1);
}

const knownHosts = async (): Promise<number> => (await site.must("host", "list", "-o", "name")).trim().split("\n").length;
const archiveOnServer = async (): Promise<string> => {
  const folder = join(site.deployment.options.dataDirectory, "agents");
  const name = (await readdir(folder)).find((each) => each.endsWith(".tar.gz"));
  assert.ok(name !== undefined, "the server made no archive");
  return join(folder, name);
};

let line = "";

test("no Node is to be found on the new host", async () => {
  const result = await host.exec(["sh", "-c", `command -v node; ls ${root}`]);
  assert.equal(result.stdout, "");
});

test("the line pins script, authority and archive", { timeout: 60_000 }, async () => {
  line = await askForLine();
  const script = createHash("sha256")
    .update(await readFile(join(root, "packaging/join.sh")))
    .digest("hex");
  const archive = createHash("sha256")
    .update(await readFile(await archiveOnServer()))
    .digest("hex");
  for (const part of [script, `sha256:${site.deployment.server.caFingerprint}`, `linux-x64=${archive}`])
    assert.ok(line.includes(part), `${part} in ${line}`);
});

test("a wrong fingerprint, a changed script, a changed archive: refused, and nothing is installed", { timeout: 120_000 }, async () => {
  const { caFingerprint } = site.deployment.server;
  await refused(
    line.replace(caFingerprint, "0".repeat(64)),
    4,
    /is not the one this line is for: its authority has the fingerprint sha256:[0-9a-f]{64}/,
  );
  const script = createHash("sha256")
    .update(await readFile(join(root, "packaging/join.sh")))
    .digest("hex");
  await refused(line.replace(script, "0".repeat(64)), 6, /did not send the script that this line was made for; nothing was run/);
  const file = await archiveOnServer();
  const good = await readFile(file);
  const changed = Buffer.from(good);
  changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
  await writeFile(file, changed);
  try {
    await refused(line, 4, /the agent's archive is not the one this line is for: its digest is/);
  } finally {
    await writeFile(file, good);
  }
});

test("what is wrong is told with the next step", { timeout: 120_000 }, async () => {
  const port = String(site.deployment.server.port);
  await refused(line.replaceAll(`:${port}`, ":9"), 6, /Does this host reach that address/);
  await refused(line.replace(/join_[0-9a-f]+/, `join_${"0".repeat(48)}`), 5, /The invitation is not valid[^]*Make a new one: `sheaf host add`/);
  await refused(
    line.replace("linux-x64=", "linux-other="),
    4,
    /this line has no agent for linux-x64[^]*npm run package.* in a clone .* agents\/ of the server's data folder/,
  );
  const asUser = await host.exec(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", line]);
  assert.equal(asUser.code, 5);
  assert.match(asUser.stderr, /root is needed[^]*Run the same line as root/);
  assert.deepEqual(await traces(), []);
});

test("the line joins the host, which then runs machines", { timeout: 240_000 }, async () => {
  const result = await type(line);
  assert.equal(result.code, 0, result.stderr);
  assert.match(result.stderr, /done: this host has joined/);
  await until(
    "the new host",
    60_000,
    async () => / ready /.test((await site.must("host", "list")).split("\n").find((row) => row.startsWith("h2 ")) ?? "") || undefined,
  );
  // By cordon, not by --on: that would bind the machine to the host.
  await site.must("host", "cordon", "h1");
  await site.must("vm", "create", "guest", "--image", "mini", "--memory", "128MiB", "--wait");
  await site.must("host", "activate", "h1");
  const { spec } = JSON.parse(await site.must("vm", "show", "guest", "-o", "json")) as { spec: { nics: { addresses: string[] }[] } }; // the API's record
  assert.equal((await guestAnswers(spec.nics[0]?.addresses[0] ?? "none")).hostname, "guest");
  assert.equal((await host.qemuProcesses()).length, 1);
});

test("a machine moves away from the new host and back, under TLS, where QEMU is not root", { timeout: 120_000 }, async () => {
  const key = (await must(["stat", "-c", "%U %G %a", "/etc/libvirt/pki/server-key.pem"])).trim();
  assert.equal(key, "root libvirt-qemu 640");
  await site.must("vm", "migrate", "guest", "--to", "h1", "--wait");
  await site.must("vm", "migrate", "guest", "--to", "h2", "--wait");
  assert.equal((await host.qemuProcesses()).length, 1);
  const [user = ""] = (await must(["sh", "-c", "ps -o user:32= -C qemu-system-x86_64 || ps -eo user:32=,comm= | sed -n 's/ *qemu-system.*//p'"]))
    .trim()
    .split("\n");
  assert.equal(user.trim(), "libvirt-qemu");
});

test("the agent has no more of root's rights than its unit leaves", async () => {
  const status = await must(["sh", "-c", "cat /proc/$(cat /run/sheaf-agent/running)/status"]);
  const unit = await readFile(join(root, "packaging/agent/sheaf-agent.service"), "utf8");
  const names = /^CapabilityBoundingSet=(.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
  // Their numbers: linux/capability.h.
  const numbers: Record<string, bigint> = { CAP_CHOWN: 0n, CAP_DAC_OVERRIDE: 1n, CAP_DAC_READ_SEARCH: 2n, CAP_FOWNER: 3n, CAP_NET_ADMIN: 12n };
  const wanted = names.reduce((set, name) => set | (1n << (numbers[name] ?? 63n)), 0n);
  for (const set of ["CapEff", "CapBnd"]) assert.equal(BigInt(`0x${new RegExp(`^${set}:\\s+(\\w+)$`, "m").exec(status)?.[1] ?? "0"}`), wanted, set);
  assert.match(status, /^NoNewPrivs:\s+1$/m);
});

const agentPids = async (): Promise<string> => (await must(["sh", "-c", "cat /run/sheaf-agent/running"])).trim();

test("a second run changes nothing, with the same line or a new one, by wget too", { timeout: 120_000 }, async () => {
  const [known, pid] = [await traces(), await agentPids()];
  const fresh = await askForLine();
  for (const [each, without] of [
    [line, []],
    [fresh, ["curl"]],
  ] as const) {
    const result = await type(each, without);
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stderr, /a host of this site already, and its agent runs: nothing to do/);
  }
  assert.deepEqual(await traces(), known);
  assert.equal(await agentPids(), pid);
  assert.equal(await knownHosts(), 2);
});

test("a line of another site is refused", { timeout: 60_000 }, async () => {
  const result = await type(line.replace(site.deployment.server.caFingerprint, "0".repeat(64)));
  assert.equal(result.code, 4);
  assert.match(result.stderr, /a host of another Sheaf site already/);
});

test("an agent that ends is started again; guests run on", { timeout: 60_000 }, async () => {
  const [before, pid] = [await host.qemuProcesses(), await agentPids()];
  await must(["kill", "-KILL", pid]);
  await until("the agent again", 30_000, async () => {
    const { stdout } = await host.exec(["sh", "-c", "cat /run/sheaf-agent/running"]);
    return (stdout.trim() !== "" && stdout.trim() !== pid) || undefined;
  });
  assert.deepEqual(await host.qemuProcesses(), before);
});

interface HostRow {
  readonly name: string;
  readonly status: { readonly agent: { readonly agentVersion: string }; readonly liveness: { readonly since: number }; readonly fencing?: unknown };
}
const hostRow = async (name: string): Promise<HostRow> => JSON.parse(await site.must("host", "show", name, "-o", "json")) as HostRow; // the API's record
const versions = async (): Promise<string[]> => Promise.all(["h1", "h2", "h3"].map(async (name) => (await hostRow(name)).status.agent.agentVersion));

const since = async (): Promise<number[]> => Promise.all(["h2", "h3"].map(async (name) => (await hostRow(name)).status.liveness.since));

/** The server goes first. */
async function serverBecomes(version: string): Promise<string> {
  const tree = join(trees, version);
  await plantVersion(version, tree);
  await site.deployment.server.stop();
  await rm(join(trees, "current"));
  await symlink(tree, join(trees, "current"));
  await site.deployment.startServer();
  await site.signIn();
  await until("the agents", 30_000, async () => ((await site.must("host", "list")).match(/ ready /g)?.length === 3 ? true : undefined));
  return tree;
}

let other: LabHost;
/** What no upgrade may change: QEMU's processes, and the boot and memory of a guest. */
let running: { readonly processes: unknown; readonly address: string; readonly bootId: string; readonly counter: number };
const qemu = async (): Promise<unknown> => [await host.qemuProcesses(), await other.qemuProcesses()];

test("a version that dies at its start is given up by the host, and ends the roll", { timeout: 240_000 }, async () => {
  other = await upWithPlaces("h3", 3);
  const joined = await other.exec(["sh", "-c", await askForLine()], { timeoutMs: 120_000 });
  assert.equal(joined.code, 0, joined.stderr);
  await until(
    "h3",
    60_000,
    async () => / ready /.test((await site.must("host", "list")).split("\n").find((row) => row.startsWith("h3 ")) ?? "") || undefined,
  );
  await site.must("vm", "create", "other", "--image", "mini", "--memory", "128MiB", "--on", "h3", "--wait");
  const { spec } = JSON.parse(await site.must("vm", "show", "guest", "-o", "json")) as { spec: { nics: { addresses: string[] }[] } }; // the API's record
  const address = spec.nics[0]?.addresses[0] ?? "none";
  running = { processes: await qemu(), address, ...(await guestAnswers(address)) };
  assert.deepEqual(
    (running.processes as unknown[][]).map(({ length }) => length),
    [1, 1],
  );

  const tree = await serverBecomes("100.0.1");
  const takeOut = await plantBrokenAgent(tree, join(site.deployment.options.dataDirectory, "agents"));
  const failed = await site.sheaf("cluster", "upgrade", "default", "--hosts", "h2,h3", "--settle", "1s", "--wait");
  assert.equal(failed.code, 1, failed.error);
  assert.match(
    failed.error,
    /h2: the host went back from version 100\.0\.1: it ended 3 times before it had proved itself, the last time with code 3/,
  );
  assert.match(failed.error, /Nothing else was begun\. Mend it, then go on: `sheaf cluster upgrade default`/);
  assert.deepEqual(await versions(), [present, present, present]);
  await nothingHappenedToGuests();
  await takeOut();
});

test("agents take the version of an upgraded server, one after the other; guests do not notice", { timeout: 240_000 }, async () => {
  const check = await site.must("cluster", "upgrade", "default", "--check");
  assert.match(
    check,
    /carries agent 100\.0\.1\.\nh1 \([0-9.]+\) is left out: its agent runs from source files[^\n]*\nh2 \([0-9.]+\) will be upgraded\nh3/,
  );
  const ofSources = await site.sheaf("host", "upgrade", "h1");
  assert.equal(ofSources.code, 4);
  assert.match(ofSources.error, /its agent runs from source files, as `npm start` does it/);
  const readySince = await since();
  const done = await site.sheaf("cluster", "upgrade", "default", "--settle", "1s", "--wait");
  assert.equal(done.code, 0, done.error);
  assert.match(done.error, /2 of 3 hosts have agent 100\.0\.1; left out: h1/);
  assert.deepEqual(await versions(), [present, "100.0.1", "100.0.1"]);
  await nothingHappenedToGuests();
  assert.deepEqual(await since(), readySince, "no host was taken for lost, not for a moment");
  assert.deepEqual((await readdir(join(host.directory, "programs"))).map((name) => name.replace(/-[0-9a-f]{12}$/, "")).sort(), [
    "agent",
    "agent",
    "agent",
    "start-agent",
  ]);
  const pulse = await until("the pulse of the new version", 20_000, async () => {
    const [pid, folder] = (await must(["cat", "/var/lib/sheaf/agent/pulse.pid"])).split("\n");
    const now = await must(["readlink", "/opt/sheaf/agent"]);
    return folder === `/opt/sheaf/${now.trim()}/apps/agent` ? pid : undefined;
  });
  assert.equal((await host.exec(["test", "-d", `/proc/${pulse}`])).code, 0);
});

async function nothingHappenedToGuests(): Promise<void> {
  assert.deepEqual(await qemu(), running.processes);
  const now = await guestAnswers(running.address);
  assert.equal(now.bootId, running.bootId);
  assert.ok(now.counter > running.counter);
  for (const name of ["h2", "h3"]) assert.equal((await hostRow(name)).status.fencing, undefined);
}

const uninstall = "/opt/sheaf/agent/packaging/uninstall-agent.sh";

test("purging is refused while guests run", async () => {
  const result = await host.exec([uninstall, "--purge"]);
  assert.equal(result.code, 4, result.stderr);
  assert.match(result.stderr, /guests run here, and --purge would take their disks away; nothing was changed: sheaf-\d+-guest/);
  assert.ok((await agentPids()) !== "");
});

test("uninstalling leaves the guests running and says so; the line takes the host up again, by wget", { timeout: 240_000 }, async () => {
  const before = await host.qemuProcesses();
  const result = await host.exec([uninstall]);
  assert.equal(result.code, 0, result.stderr);
  assert.match(result.stderr, /guests run on: sheaf-\d+-guest/);
  assert.deepEqual(await host.qemuProcesses(), before);
  assert.deepEqual([await readdir(join(host.directory, "programs")), await readdir(join(host.directory, "configuration"))], [[], []]);
  assert.ok(!(await host.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep '[a]pps/agent/main'"])).stdout.includes("main"));

  const again = await type(await askForLine(), ["curl"]);
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual(await host.qemuProcesses(), before);
  await site.must("vm", "delete", "guest", "--wait");
  assert.deepEqual(await host.qemuProcesses(), []);
});

test("purging removes the data too, and the keys that QEMU was given", { timeout: 60_000 }, async () => {
  const result = await host.exec([uninstall, "--purge"]);
  assert.equal(result.code, 0, result.stderr);
  assert.deepEqual(await traces(), []);
  assert.deepEqual(await readdir(join(host.directory, "etc/pki")), []);
  await rm(join(host.directory, "empty"), { force: true });
});
