/**
 * Removes what a soak left behind that was killed: its server and its lab. Each site writes its lab into a list (the lab's own ledger
 * variable) when it begins; nothing that is not on it is touched, nor what belongs to a soak that is still at work.
 */
import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createLab, LEDGER_VARIABLE } from "@sheaf/lab";
import { commandLine, endLeftRunning } from "../apps/server/deployment/left-running.ts";

/** One list a process. */
const listOf = (directory: string, pid: number): string => join(directory, `labs-${pid}`);

export async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const pid = Number(/^labs-(\d+)$/.exec(name)?.[1]);
    if (pid > 0 && !(await runs(pid, (word) => word.endsWith("soak/main.ts")))) await removeListed(listOf(directory, pid));
  }
}

async function removeListed(list: string): Promise<void> {
  const lines = (await readFile(list, "utf8")).split("\n").filter((line) => line !== "");
  for (const line of new Set(lines)) {
    const [id = "", root = ""] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
    // A site that was closed is gone; its lab's id may be another's by now.
    if (!existsSync(root)) continue;
    const data = dirname(root);
    await endLeftRunning(data);
    // Its subnet does not matter to what is only taken away.
    await createLab({ id, root, gateway: "10.0.0.1/24" }).purge();
    await rm(dirname(data), { recursive: true, force: true });
  }
  await rm(list);
}

/** Whether that process has such a word on its command line: one that is dying has none, and numbers are used again. */
async function runs(pid: number, wanted: (word: string) => boolean): Promise<boolean> {
  return (await commandLine(pid)).some(wanted);
}

/** From now on sites that are opened stand on the list. */
export function listSites(directory: string): void {
  process.env[LEDGER_VARIABLE] = listOf(directory, process.pid);
}
