/**
 * The pulse as a process beside the agent, and the file by which it sees that the agent works. One pulse a data folder: a new agent finds
 * the one that an earlier agent left.
 */
import { spawn } from "node:child_process";
import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AgentWord } from "@sheaf/agent";

export const agentAliveFile = (dataDirectory: string): string => `${dataDirectory}/alive`;
export const pulsePidFile = (dataDirectory: string): string => `${dataDirectory}/pulse.pid`;

const everyMs = 1000;
const calmWord = "calm\n";
const program = join(import.meta.dirname, "pulse.ts");

/** Says every second that this process works, and whether it is calm. @returns how it ends */
export function sayAlive(dataDirectory: string, calm: () => boolean): () => void {
  const file = agentAliveFile(dataDirectory);
  let said = "";
  const say = (): void => {
    const word = calm() ? calmWord : "";
    if (word !== said) writeFileSync(file, word);
    said = word;
    const now = new Date();
    utimesSync(file, now, now);
  };
  writeFileSync(file, said, { mode: 0o600 });
  const timer = setInterval(say, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** What `sayAlive` says in another process. */
export function watchAgent(dataDirectory: string): () => AgentWord {
  const file = agentAliveFile(dataDirectory);
  let seen = -1;
  let [since, calm] = [performance.now(), false];
  return () => {
    const { mtimeMs } = statSync(file, { throwIfNoEntry: false }) ?? { mtimeMs: -1 };
    // Compared with what was seen before, not with a clock that may jump.
    if (mtimeMs !== seen) [seen, since, calm] = [mtimeMs, performance.now(), readFileSync(file, "utf8") === calmWord];
    return { silentMs: performance.now() - since, calm };
  };
}

/** A pulse that an earlier version of the agent started makes room for this version's: a service manager, or `keepPulse`, starts that. */
export function endEarlierPulse(dataDirectory: string): void {
  const pulse = runningPulse(dataDirectory);
  if (pulse && pulse.folder !== import.meta.dirname) process.kill(pulse.pid, "SIGTERM");
}

/** What a pulse says of itself in its file: its number, and where its program really lies. */
export const pulseNote = (folder: string): string => `${process.pid}\n${folder}\n`;

/** Sees to it that a pulse runs. `stop` ends it: for an agent that ends for good. */
export function keepPulse(dataDirectory: string): { stop(): void } {
  const look = (): void => {
    if (runningPulse(dataDirectory) !== null) return;
    const words = ["--disable-warning=ExperimentalWarning", "--max-old-space-size=64", program, dataDirectory];
    // A group of its own: what ends the agent's does not end it.
    const child = spawn(process.execPath, words, { stdio: ["ignore", "inherit", "inherit"], detached: true });
    child.on("error", () => {}); // looked for again
    child.unref();
    writeFileSync(pulsePidFile(dataDirectory), `${child.pid ?? ""}\n${import.meta.dirname}\n`, { mode: 0o600 });
  };
  look();
  const timer = setInterval(look, everyMs);
  timer.unref();
  return {
    stop() {
      clearInterval(timer);
      const pulse = runningPulse(dataDirectory);
      if (pulse) process.kill(pulse.pid, "SIGTERM");
    },
  };
}

/** By its command line: a number alone may be another process's by now. It may be another version's, from another folder. */
function runningPulse(dataDirectory: string): { readonly pid: number; readonly folder: string } | null {
  try {
    const [pid = "", folder = ""] = readFileSync(pulsePidFile(dataDirectory), "utf8").split("\n");
    const words = /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0") : [];
    return words.some((word) => word.endsWith("/pulse.ts")) && words.includes(dataDirectory) ? { pid: Number(pid), folder } : null;
  } catch {
    return null; // no file, or no such process
  }
}
