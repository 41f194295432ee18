/**
 * `npm run bench [-- NAME…] [--json FILE]`: the benchmarks, one after the other, each a process of its own. Writes everything as JSON and a
 * table for people, with the facts of the machine. Fails where a target is not met, and where a benchmark that was asked for cannot run.
 */
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { cpus, loadavg, release, totalmem } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { allMet, readOutcome, table, type Result } from "./report.ts";

const benchmarks = [
  "store",
  "placement",
  "packing",
  "what-if",
  "telemetry",
  "right-sizing",
  "balancing",
  "openb",
  "planetlab",
  "gateway",
  "api",
  "site",
  "scale",
  "hypervisor",
  "fail-over",
] as const;
const timeLimitMs = 20 * 60_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" }, data: { type: "string", default: ".sheaf" } },
});
const unknown = positionals.filter((name) => !(benchmarks as readonly string[]).includes(name)); // widened to search with any name
if (unknown.length > 0) {
  process.stderr.write(`There is no benchmark ${unknown.join(", ")}; there are ${benchmarks.join(", ")}.\n`);
  process.exit(2);
}
const startedAt = new Date();
const file = resolve(values.json ?? join(values.data, "bench", `${startedAt.toISOString().replaceAll(":", "-")}.json`));
const { length: count, 0: first } = cpus();
const machine = {
  cpus: count,
  cpuModel: first?.model ?? "unknown",
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
};

// A benchmark that is interrupted takes down what it has started: that is waited for.
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());

const results: Result[] = [];
for (const benchmark of positionals.length > 0 ? positionals : benchmarks) {
  process.stdout.write(`running ${benchmark} …\n`);
  results.push(await run(benchmark));
  if (stop.signal.aborted) process.exit(130);
}
const met = allMet(results);
await mkdir(dirname(file), { recursive: true });
await writeFile(file, `${JSON.stringify({ startedAt: startedAt.toISOString(), machine, met, results }, null, 2)}\n`);
process.stdout.write(`\n${table(results)}\n`);
process.stdout.write(
  `machine: ${machine.cpus} × ${machine.cpuModel}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}; all figures: ${file}\n`,
);
process.exitCode = met ? 0 : 1;

/** The outcome stands on the child's standard output; what it says meanwhile goes to the terminal. */
function run(benchmark: string): Promise<Result> {
  const from = performance.now();
  const loadBefore = loadavg()[0] ?? 0;
  return new Promise((done) => {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, `${benchmark}.ts`)], {
      stdio: ["ignore", "pipe", "inherit"],
      timeout: timeLimitMs,
    });
    stop.signal.addEventListener("abort", () => child.kill(), { once: true });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    child.on("error", (error) => done({ ...facts(), problem: error.message }));
    child.on("close", (code, signal) => done({ ...facts(), ...readOutcome(text, signal ?? code ?? "nothing") }));
    const facts = () => ({ benchmark, tookMs: Math.round(performance.now() - from), loadBefore });
  });
}
