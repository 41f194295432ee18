/** Runs a program of the repository under our own Node and ends as it ends; signals reach it. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ensureInstalled, node, root } from "./install.mjs";

export function run(program, groups, args) {
  const { system, why } = ensureInstalled(groups);
  if (!system) {
    process.stderr.write(`This cannot be run here: ${why}\n`);
    process.exit(1);
  }
  const child = spawn(node, ["--disable-warning=ExperimentalWarning", join(root, program), ...args], { stdio: "inherit" });
  // The terminal's Ctrl-C reaches the child by itself; a signal to this process alone is passed on.
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  process.on("SIGINT", () => {});
  child.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
}
