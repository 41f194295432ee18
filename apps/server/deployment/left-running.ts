/** Programs of a deployment whose starter was killed. They are known by their command lines: process numbers are used again. */
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { until } from "./processes.ts";

const patienceMs = 10_000;

/** Ends server, agent and pulse of a data folder; by force where ten seconds are not enough. Agents of lab hosts end with their hosts. */
export async function endLeftRunning(dataDirectory: string): Promise<void> {
  for (const name of ["SIGTERM", "SIGKILL"] as const) {
    for (const pid of await leftRunning(dataDirectory)) signal(pid, name);
    const gone = until("their end", patienceMs, async () => (await leftRunning(dataDirectory)).length === 0 || undefined);
    if (await gone.catch(() => false)) return;
  }
  throw new Error(`Programs that use ${dataDirectory} do not end: ${(await leftRunning(dataDirectory)).join(", ")}. Nothing was removed.`);
}

async function leftRunning(dataDirectory: string): Promise<number[]> {
  const folders = [dataDirectory, join(dataDirectory, "agent")];
  const callers = await ownCallers();
  const found: number[] = [];
  for (const pid of (await readdir("/proc")).map(Number)) {
    if (!(pid > 0) || callers.has(pid)) continue;
    const [program = "", ...words] = await commandLine(pid);
    if (basename(program) === "node" && words.some((word) => folders.includes(word))) found.push(pid);
  }
  return found;
}

/** This process and all that it was called by: their command lines may name the folder as well. */
async function ownCallers(): Promise<ReadonlySet<number>> {
  const found = new Set<number>();
  for (let pid = process.pid; pid > 0 && !found.has(pid);) {
    found.add(pid);
    // The program's name stands in brackets and may hold spaces; its state and its parent follow (proc_pid_stat(5)).
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    pid = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? 0);
  }
  return found;
}

/** Empty for a process that is gone or dying. */
export async function commandLine(pid: number): Promise<string[]> {
  return (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
}

/** A process that is gone already is no error. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // only system errors come from kill(2)
  }
}
