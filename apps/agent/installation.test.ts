/** Versions of the agent on a real file system, with real archives and the real start script; Node and agent are played by a shell script. */
import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { NodeFiles, runProgram } from "@sheaf/adapters";
import { ArchiveInstallation, type Files } from "@sheaf/agent";
import type { UpgradeOrder } from "@sheaf/contract";

const none = new AbortController().signal;
const oldDigest = "0a".repeat(32);
const oldFolder = `agent-${oldDigest.slice(0, 12)}`;
const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) cleanUp();
});

/** As a version behaves once it is started. */
const manners = {
  /** Until it is told to make room. */
  old: 'until [ -e "$programs/go" ]; do sleep 0.05; done; rm "$programs/go"; exit 75',
  works: "exec sleep 60",
  dies: "exit 3",
} as const;
type Manner = keyof typeof manners;

/** A tree that looks like an agent's. @param complaint what its test of itself finds */
function plant(folder: string, manner: Manner, complaint = ""): void {
  mkdirSync(join(folder, "node_modules/.bin"), { recursive: true });
  mkdirSync(join(folder, "apps/agent"), { recursive: true });
  writeFileSync(join(folder, "apps/agent/main.ts"), manners[manner]);
  const node = join(folder, "node_modules/.bin/node");
  writeFileSync(
    node,
    `#!/bin/sh
here=$(cd "$(dirname "$0")/../.." && pwd -P)
programs=$(dirname "$here")
for word in "$@"; do
  [ "$word" != --self-test ] || { echo "${complaint}" >&2; [ -z "${complaint}" ]; exit; }
done
basename "$here" >>"$programs/started"
. "$here/apps/agent/main.ts"
`,
  );
  chmodSync(node, 0o755);
}

class Scene {
  readonly programs: string;
  readonly installation: ArchiveInstallation;
  proved = 0;
  #supervisor: ChildProcess | undefined;

  constructor(files: Files = new NodeFiles()) {
    this.programs = mkdtempSync(join(tmpdir(), "sheaf-programs-"));
    cleanUps.push(() => rmSync(this.programs, { recursive: true, force: true }));
    plant(join(this.programs, oldFolder), "old");
    symlinkSync(oldFolder, join(this.programs, "agent"));
    copyFileSync(join(import.meta.dirname, "../../packaging/agent/start.sh"), join(this.programs, "start-agent"));
    this.installation = this.as(oldFolder, oldDigest, files);
  }

  /** What that version sees of itself. */
  as(folder: string, archive: string, files: Files = new NodeFiles()): ArchiveInstallation {
    return new ArchiveInstallation({
      ...{ files, programs: this.programs, folder, archive, platform: "linux-x64", words: ["--data", "/nowhere"] },
      processes: { run: runProgram },
      restart: () => writeFileSync(join(this.programs, "go"), ""),
      proved: () => (this.proved += 1),
    });
  }

  pack(manner: Manner, complaint = ""): { order: UpgradeOrder; bytes: Buffer; folder: string } {
    const scratch = mkdtempSync(join(tmpdir(), "sheaf-archive-"));
    cleanUps.push(() => rmSync(scratch, { recursive: true, force: true }));
    plant(join(scratch, "sheaf-agent-0.2.0"), manner, complaint);
    execFileSync("tar", ["-czf", join(scratch, "a.tar.gz"), "-C", scratch, "sheaf-agent-0.2.0"]);
    const bytes = readFileSync(join(scratch, "a.tar.gz"));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { order: { order: "t1", version: "0.2.0", sha256, sizeBytes: bytes.byteLength }, bytes, folder: `agent-${sha256.slice(0, 12)}` };
  }

  start(environment: Record<string, string> = {}): void {
    const child = spawn(join(this.programs, "start-agent"), ["--data", "/nowhere"], {
      stdio: "ignore",
      env: { PATH: process.env["PATH"] ?? "", ...environment },
    });
    this.#supervisor = child;
    cleanUps.push(() => child.kill("SIGTERM"));
  }

  async ends(): Promise<number | null> {
    const child = this.#supervisor;
    assert.ok(child);
    child.kill("SIGTERM");
    return child.exitCode ?? new Promise((resolve) => child.once("exit", (code) => resolve(code)));
  }

  get started(): string[] {
    const file = join(this.programs, "started");
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
  }
  get current(): string {
    return readlinkSync(join(this.programs, "agent"));
  }
  names(): string[] {
    return readdirSync(this.programs).filter((name) => name !== "started" && name !== "start-agent");
  }
  async until(what: string, condition: () => boolean): Promise<void> {
    for (const end = performance.now() + 20_000; !condition(); await new Promise((resolve) => setTimeout(resolve, 20)))
      if (performance.now() > end) throw new Error(`waited in vain: ${what}; started ${this.started.join(" ")}, there ${this.names().join(" ")}`);
  }
}

async function* pieces(bytes: Uint8Array, error?: Error): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 500) yield bytes.subarray(at, at + 500);
  if (error) throw error;
}

async function take(scene: Scene, packed: { order: UpgradeOrder; bytes: Buffer }): Promise<void> {
  await scene.installation.fetch(packed.order, pieces(packed.bytes), () => {}, none);
  await scene.installation.prepare(packed.order, none);
}

test("a new version takes the place at once, proves itself, and only the one before is kept", { timeout: 60_000 }, async () => {
  const scene = new Scene();
  mkdirSync(join(scene.programs, "agent-000000000000"));
  const packed = scene.pack("works");
  scene.start();
  await scene.until("the old one runs", () => scene.started.length === 1);
  await take(scene, packed);
  assert.equal(scene.current, oldFolder, "nothing is switched before it is said");
  await scene.installation.switchTo(packed.order);
  assert.equal(await scene.installation.onTrial(), false, "the old one is on no trial");
  assert.equal(await scene.as(packed.folder, packed.order.sha256).onTrial(), true);
  scene.installation.restart();
  await scene.until("the new one runs", () => scene.started.length === 2);
  await scene.as(packed.folder, packed.order.sha256).prove();
  assert.deepEqual(scene.started, [oldFolder, packed.folder]);
  assert.deepEqual(scene.names(), ["agent", oldFolder, packed.folder].sort());
  assert.equal(scene.proved, 1);
  assert.equal(await scene.ends(), 0, "ending the script ends the agent");
});

for (const [manner, why, starts] of [
  ["dies", /it ended 3 times before it had proved itself, the last time with code 3/, 3],
  ["works", /it was not connected to its server within 2 s/, 1],
] as const)
  test(
    `a version that ${manner === "dies" ? "dies" : "never connects"} is given up, and the one before runs again`,
    { timeout: 60_000 },
    async () => {
      const scene = new Scene();
      const packed = scene.pack(manner);
      scene.start({ SHEAF_TRIAL_SECONDS: "2" });
      await take(scene, packed);
      await scene.installation.switchTo(packed.order);
      const begun = performance.now();
      scene.installation.restart();
      await scene.until("the old one runs again", () => scene.started.length === starts + 2);
      assert.deepEqual(scene.started, [oldFolder, ...Array.from({ length: starts }, () => packed.folder), oldFolder]);
      assert.equal(scene.current, oldFolder);
      assert.equal(await scene.installation.onTrial(), false);
      if (manner === "works") assert.ok(performance.now() - begun > 1900, "it has its whole time");
      assert.match((await scene.installation.givenUp("t1")) ?? "", why);
      assert.equal(await scene.installation.givenUp("another"), null);
      await scene.ends();
    },
  );

test("a host that loses its power between the two steps of the switch starts the version before", { timeout: 60_000 }, async () => {
  const scene = new Scene();
  const packed = scene.pack("dies");
  await take(scene, packed);
  await scene.installation.switchTo(packed.order);
  rmSync(join(scene.programs, "agent"));
  symlinkSync(oldFolder, join(scene.programs, "agent"));
  scene.start();
  await scene.until("it runs", () => scene.started.length === 1);
  assert.deepEqual([scene.started, existsSync(join(scene.programs, "trial"))], [[oldFolder], false]);
  assert.equal(await scene.installation.givenUp("t1"), null, "it was never started");
  await scene.ends();
});

const untouched = (scene: Scene): void => {
  assert.equal(scene.current, oldFolder);
  assert.deepEqual(scene.names(), ["agent", oldFolder]);
};

test("another digest, more or fewer bytes, a connection that breaks: refused, and nothing is changed", async () => {
  const scene = new Scene();
  const { order, bytes } = scene.pack("works");
  const fetch = (wanted: Partial<UpgradeOrder>, body: AsyncIterable<Uint8Array>) =>
    scene.installation.fetch({ ...order, ...wanted }, body, () => {}, none);
  await assert.rejects(fetch({ sha256: "00".repeat(32) }, pieces(bytes)), { code: "upgrade-failed", message: /has the digest/ });
  await assert.rejects(fetch({ sizeBytes: order.sizeBytes - 1 }, pieces(bytes)), { code: "upgrade-failed", message: /sent more than the/ });
  await assert.rejects(fetch({ sizeBytes: order.sizeBytes + 1 }, pieces(bytes)), { code: "unavailable" });
  await assert.rejects(fetch({}, pieces(bytes.subarray(0, 700), new Error("reset"))), { code: "unavailable" });
  untouched(scene);
});

test("a version that does not pass its own test, or is no archive: refused with its own words, and nothing is changed", async () => {
  const scene = new Scene();
  const packed = scene.pack("works", "libvirt does not answer");
  await scene.installation.fetch(packed.order, pieces(packed.bytes), () => {}, none);
  await assert.rejects(scene.installation.prepare(packed.order, none), (error: { code: string; extra: { cause?: string } }) => {
    assert.deepEqual([error.code, error.extra.cause], ["upgrade-failed", "libvirt does not answer"]);
    return true;
  });
  const bytes = Buffer.from("no archive");
  const order = { order: "t2", version: "0.2.0", sizeBytes: bytes.byteLength, sha256: createHash("sha256").update(bytes).digest("hex") };
  await scene.installation.fetch(order, pieces(bytes), () => {}, none);
  await assert.rejects(scene.installation.prepare(order, none), { code: "upgrade-failed", message: /cannot be unpacked/ });
  untouched(scene);
});

test("a full disk is told as such, before and while it fills, and nothing is changed", async () => {
  const files = new NodeFiles();
  let availableBytes = 1000;
  const full: Files = Object.assign(Object.create(files) as Files, {
    space: () => Promise.resolve({ capacityBytes: 1e12, availableBytes }),
    writer: async (...words: Parameters<Files["writer"]>) => ({
      ...(await files.writer(...words)),
      write: () => Promise.reject(Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" })),
      sync: () => Promise.resolve(),
      close: () => Promise.resolve(),
    }),
  });
  const scene = new Scene(full);
  const { order, bytes } = scene.pack("works");
  const fetch = () => scene.installation.fetch(order, pieces(bytes), () => {}, none);
  await assert.rejects(fetch(), { code: "no-capacity" });
  availableBytes = 1e11;
  await assert.rejects(fetch(), { code: "no-capacity" });
  untouched(scene);
});
