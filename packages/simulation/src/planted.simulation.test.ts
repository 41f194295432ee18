/**
 * The net is shown to catch: each patch of `planted/` breaks a copy of the sources in one place, and one of the first seeds must
 * notice. None of them was chosen for any of these. As many at a time as there are CPUs.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";

const root = join(import.meta.dirname, "../../..");
const planted = join(root, "packages/simulation/planted");
const unneeded = /\/(node_modules|scenarios|planted)$|\.test\.ts$/;

/** The sources, with every package found in the copy and every dependency where it is installed. */
async function makeCopy(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), "sheaf-planted-"));
  await cp(join(root, "packages"), join(copy, "packages"), { recursive: true, filter: (path) => !unneeded.test(path) });
  await cp(join(root, "package.json"), join(copy, "package.json"));
  await mkdir(join(copy, "node_modules/@sheaf"), { recursive: true });
  for (const name of await readdir(join(root, "node_modules")))
    if (name !== "@sheaf" && !name.startsWith(".")) await symlink(join(root, "node_modules", name), join(copy, "node_modules", name));
  for (const name of await readdir(join(copy, "packages"))) await symlink(join(copy, "packages", name), join(copy, "node_modules/@sheaf", name));
  return copy;
}

function run(copy: string, program: string, ...words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const options = { cwd: copy, encoding: "utf8", env: { ...process.env, GIT_DIR: "/nonexistent" } } as const;
  return new Promise((resolve) => {
    execFile(program, words, options, (error, stdout, stderr) => resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr }));
  });
}

describe("planted", { concurrency: availableParallelism() }, async () => {
  for (const patch of (await readdir(planted)).toSorted())
    it(patch.replace(/\.patch$/, "").replaceAll("-", " "), { timeout: 240_000 }, async () => {
      const copy = await makeCopy();
      try {
        const applied = await run(copy, "git", "apply", join(planted, patch));
        assert.equal(applied.code, 0, `${patch} fits the sources no more, make it anew: ${applied.stderr}`);
        const words = ["--seeds", "1-16", "--hosts", "4", "--hours", "0.3", "--faults", "heavy", "--quiet", "--stop-at-first"];
        const main = join(copy, "packages/simulation/src/main.ts");
        const { code, stdout } = await run(copy, process.execPath, "--disable-warning=ExperimentalWarning", main, ...words);
        assert.match(stdout, /BROKEN: /, `no seed has noticed:\n${stdout}`);
        assert.equal(code, 1);
      } finally {
        await rm(copy, { recursive: true, force: true });
      }
    });
});
