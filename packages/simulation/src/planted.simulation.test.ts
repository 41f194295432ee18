/**
 * The net is shown to catch: each patch of `planted/` breaks a copy of the sources in one place, and one of the first seeds must
 * notice. None of them was chosen for any of these.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const root = join(import.meta.dirname, "../../..");
const planted = join(root, "packages/simulation/planted");
const copy = mkdtempSync(join(tmpdir(), "sheaf-planted-"));
after(() => rmSync(copy, { recursive: true, force: true }));

/** The sources, with every package found in the copy and every dependency where it is installed. */
function makeCopy(): void {
  cpSync(join(root, "packages"), join(copy, "packages"), { recursive: true, filter: (path) => !path.includes("node_modules") });
  cpSync(join(root, "package.json"), join(copy, "package.json"));
  mkdirSync(join(copy, "node_modules/@sheaf"), { recursive: true });
  for (const name of readdirSync(join(root, "node_modules")))
    if (name !== "@sheaf" && !name.startsWith(".")) symlinkSync(join(root, "node_modules", name), join(copy, "node_modules", name));
  for (const name of readdirSync(join(copy, "packages"))) symlinkSync(join(copy, "packages", name), join(copy, "node_modules/@sheaf", name));
}

function apply(patch: string, ...options: string[]): void {
  const { status, stderr } = spawnSync("git", ["apply", ...options, join(planted, patch)], { cwd: copy, encoding: "utf8" });
  assert.equal(status, 0, `${patch} fits the sources no more, make it anew: ${stderr}`);
}

makeCopy();

for (const patch of readdirSync(planted).toSorted()) {
  test(`planted: ${patch.replace(/\.patch$/, "").replaceAll("-", " ")}`, { timeout: 240_000 }, () => {
    apply(patch);
    try {
      const words = ["--seeds", "1-16", "--hosts", "4", "--hours", "0.3", "--faults", "heavy", "--quiet", "--stop-at-first"];
      const { status, stdout } = spawnSync(
        process.execPath,
        ["--disable-warning=ExperimentalWarning", join(copy, "packages/simulation/src/main.ts"), ...words],
        { cwd: copy, encoding: "utf8", env: { ...process.env, GIT_DIR: "/nonexistent" } },
      );
      assert.match(stdout, /BROKEN: /, `no seed has noticed:\n${stdout}`);
      assert.equal(status, 1);
    } finally {
      apply(patch, "--reverse");
    }
  });
}
