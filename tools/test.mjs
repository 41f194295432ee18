/**
 * `npm test`: everything; `npm run test:fast`: what needs no hypervisor. Installs what it needs, runs the stages in order, stops at
 * the first that fails. Not root or not Debian: lab tests are left out loudly; with CI=true that is a failure.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { ensureInstalled, node, root } from "./install.mjs";

const fast = process.argv.includes("--fast");
const installed = ensureInstalled(fast ? [] : ["host", "lab", "test"]);
const lab = !fast && installed.system && process.getuid?.() === 0;
const scratch = mkdtempSync(join(tmpdir(), "sheaf-test-"));
const ledger = join(scratch, "labs");
const times = [];
const counts = { pass: 0, fail: 0, skipped: 0 };

try {
  stage("types", [join(root, "node_modules/.bin/tsc"), "--noEmit"]);
  stage("lint", [join(root, "node_modules/.bin/oxlint"), "--quiet"]);
  stage("dead code", [join(root, "node_modules/.bin/knip"), "--no-config-hints"]);
  stage("format", [join(root, "node_modules/.bin/oxfmt"), "--check"]);
  // Node's runner leaves one CPU idle by itself: half of a machine with two.
  const parallel = [`--test-concurrency=${availableParallelism()}`];
  tests("unit and property tests", "dot", parallel, (name) => name.endsWith(".test.ts") && !/\.(lab|simulation)\.test\.ts$/.test(name));
  if (!fast) tests("simulated data centre", "spec", parallel, (name) => name.endsWith(".simulation.test.ts"));
  if (lab) {
    // One file at a time: lab hosts share two cores.
    tests("lab tests", "spec", ["--test-concurrency=1"], (name) => name.endsWith(".lab.test.ts"));
    leftovers();
  } else if (!fast) {
    const why = installed.why ?? "not root";
    process.stderr.write(`\n*** LAB TESTS WERE NOT RUN: ${why}\n\n`);
    if (process.env.CI === "true") fail("lab tests", 1);
  }
  for (const [name, seconds] of times) process.stdout.write(`${name}: ${seconds.toFixed(1)} s\n`);
  summary();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function stage(name, argv) {
  const status = run(name, argv);
  if (status !== 0) fail(name, status);
}

/** @returns the exit code */
function run(name, [command, ...args]) {
  process.stdout.write(`\n== ${name}\n`);
  const started = Date.now();
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}`, SHEAF_LAB_LEDGER: ledger },
  });
  times.push([name, (Date.now() - started) / 1000]);
  return status ?? 1;
}

/** Runs test files and adds up what node's runner counted; with `dot` the failures are told in full afterwards. */
function tests(name, reporter, options, wanted) {
  const report = join(scratch, "report.tap");
  const reporters = [
    `--test-reporter=${reporter}`,
    "--test-reporter-destination=stdout",
    "--test-reporter=tap",
    `--test-reporter-destination=${report}`,
  ];
  // What hangs must fail with its name, not stop everything for ever; the longest file takes a third of this.
  const limits = ["--test-timeout=600000", "--disable-warning=ExperimentalWarning"];
  const status = run(name, [node, "--test", ...limits, ...options, ...reporters, ...files(wanted)]);
  const text = readFileSync(report, "utf8");
  for (const key of Object.keys(counts)) counts[key] += Number(new RegExp(`^# ${key} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  if (process.env.CI === "true" && counts.skipped > 0) {
    process.stdout.write(
      `${counts.skipped} tests were skipped; with CI=true none may be\n${text
        .split("\n")
        .filter((line) => line.includes("# SKIP"))
        .join("\n")}\n`,
    );
    fail(name, 1);
  }
  if (status !== 0) fail(name, status);
}

function summary() {
  process.stdout.write(`${counts.pass} passed, ${counts.fail} failed, ${counts.skipped} skipped\n`);
}

function fail(name, status) {
  rmSync(scratch, { recursive: true, force: true });
  process.stdout.write(`\n${name} failed\n`);
  counts.fail = Math.max(1, counts.fail);
  summary();
  process.exit(status);
}

function files(wanted) {
  const found = [];
  const walk = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.name === "node_modules" || entry.name === "dist" || entry.name.startsWith(".")) continue;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (wanted(entry.name)) found.push(path);
    }
  };
  for (const folder of ["packages", "apps", "tools", "e2e", "soak", "bench"]) if (existsSync(join(root, folder))) walk(join(root, folder));
  if (found.length === 0) fail("no test files", 1);
  return found.toSorted();
}

/** A lab that a test made must be gone: processes, namespaces, links, control groups, files. */
function leftovers() {
  const lines = existsSync(ledger) ? [...new Set(readFileSync(ledger, "utf8").split("\n").filter(Boolean))] : [];
  // Groups lie in the hierarchies of version 1, or at once in version 2's.
  const groups = "/sys/fs/cgroup";
  const places = ["/run/netns", "/sys/class/net", groups, ...entries(groups).map((name) => `${groups}/${name}`)];
  const left = lines.flatMap((line) => {
    const [id, directory] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
    const named = (name) => name === id || name === `${id}br0` || name.startsWith(`${id}-`);
    const found = places.flatMap((place) =>
      entries(place)
        .filter(named)
        .map((name) => `${place}/${name}`),
    );
    const alive = entries("/proc").filter((pid) => /^\d+$/.test(pid) && commandLine(pid).startsWith(`lab-host-${id}-`));
    return [...found, ...alive.map((pid) => `process ${pid}`), ...(existsSync(directory) ? [directory] : [])];
  });
  if (left.length > 0) {
    process.stdout.write(`left behind: ${left.join(" ")}\n`);
    fail("leftovers", 1);
  }
}

function entries(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return []; // not on this machine, or gone while we looked
  }
}

function commandLine(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
