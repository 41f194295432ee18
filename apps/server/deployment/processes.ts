/** Waiting for child processes and conditions. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

/** Resolves when the process is gone. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/** Looks until `look` gives something. @throws Error that names what was waited for */
export async function until<T>(what: string, timeoutMs: number, look: () => Promise<T | undefined> | T | undefined, everyMs = 50): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`Waited ${timeoutMs / 1000} s in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
