/**
 * Brings what is missing: npm packages (with their own Node 24) and, as root on Debian or Ubuntu, the system's packages.
 * Runs under Node 20 without any package installed. Called by start.mjs and test.mjs.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(fileURLToPath(new URL(".", import.meta.url)), "..");
export const node = join(root, "node_modules/.bin/node");

/** Where packages come from: `host` for any host, `lab` for lab hosts and their guest image, `test` for the tests. */
const groups = JSON.parse(readFileSync(join(root, "tools/system-packages.json"), "utf8"));

const isRoot = process.getuid?.() === 0;
const isDebian = existsSync("/etc/debian_version") && spawnSync("apt-get", ["--version"]).status === 0;

/** @returns {{ system: boolean, why?: string }} whether the system's packages are all there, else why not and what to do */
export function ensureInstalled(names) {
  ensureNpmPackages();
  const missing = missingPackages(names.flatMap((name) => groups[name]));
  if (missing.length === 0) return { system: true };
  if (!isDebian)
    return { system: false, why: `this is no Debian or Ubuntu: install what these packages hold by your system's means: ${missing.join(" ")}` };
  if (!isRoot) return { system: false, why: `not root: run  apt-get install --no-install-recommends ${missing.join(" ")}` };
  installPackages(missing);
  return { system: true };
}

function ensureNpmPackages() {
  const stamp = join(root, "node_modules/.package-lock.json");
  const lock = join(root, "package-lock.json");
  if (existsSync(node) && existsSync(stamp) && statSync(stamp).mtimeMs >= statSync(lock).mtimeMs) return;
  timed("npm packages", () =>
    execFileSync("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] }),
  );
}

function missingPackages(wanted) {
  const { stdout } = spawnSync("dpkg-query", ["-W", "-f", "${Package} ${db:Status-Status}\n", ...wanted], { encoding: "utf8" });
  const present = new Set(
    (stdout ?? "")
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return wanted.filter((name) => !present.has(name));
}

function installPackages(missing) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...args) =>
    execFileSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=300", ...args], { env, stdio: ["ignore", "ignore", "inherit"] });
  // Without systemd nothing may start by itself while packages are set up; with it the distribution's way is kept.
  const policy = "/usr/sbin/policy-rc.d";
  const guard = !existsSync(policy) && !existsSync("/run/systemd/system");
  if (guard) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    timed(`system packages (${missing.length})`, () => {
      apt("update");
      apt("install", "-y", "--no-install-recommends", ...missing);
    });
  } finally {
    if (guard) rmSync(policy, { force: true });
  }
}

export function timed(what, work) {
  const started = Date.now();
  process.stderr.write(`installing ${what} …\n`);
  work();
  process.stderr.write(`installed ${what} in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}
