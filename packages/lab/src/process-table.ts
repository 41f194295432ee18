/**
 * Which processes belong to a lab host: those in its network namespace. That list is the only truth about what runs; there is no
 * pid file that could be stale. Process numbers are those of the machine. Called by lab-host.ts and the leftover check.
 */
import { readFile, readdir, readlink, stat } from "node:fs/promises";
import { readFileSync, readdirSync } from "node:fs";

export interface QemuProcess {
  /** As the machine numbers it. */
  readonly pid: number;
  readonly domainName: string;
  readonly uuid: string;
}

/** A namespace entry lives on the kernel's nsfs; a crash of `ip netns add` leaves a plain empty file. */
export const namespacePath = (namespace: string): string => `/run/netns/${namespace}`;

async function numbers(): Promise<number[]> {
  return (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** All processes of a named network namespace, zombies included while the kernel still shows their namespace. */
export async function pidsInNamespace(namespace: string): Promise<number[]> {
  const entry = await stat(namespacePath(namespace)).catch(() => null);
  if (entry === null) return [];
  const wanted = `net:[${entry.ino}]`;
  const all = await numbers();
  const links = await Promise.all(all.map((pid) => readlink(`/proc/${pid}/ns/net`).catch(() => "")));
  return all.filter((_, index) => links[index] === wanted);
}

/** The process that is pid 1 inside the host, or undefined when the host is off. */
export async function initPid(pids: readonly number[]): Promise<number | undefined> {
  for (const pid of pids) {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    const chain = /^NSpid:\s+(.+)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
    if (chain.length > 1 && chain.at(-1) === "1" && !/^State:\s+Z/m.test(status)) return pid;
  }
  return undefined;
}

/** The guests among the processes, read from QEMU's own command lines, so also those that libvirtd has lost. */
export async function qemuProcesses(pids: readonly number[]): Promise<QemuProcess[]> {
  const found: QemuProcess[] = [];
  for (const pid of pids) {
    const argv = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (!/(^|\/)qemu-/.test(argv[0] ?? "")) continue;
    const value = (option: string): string | undefined => (argv.includes(option) ? argv[argv.indexOf(option) + 1] : undefined);
    // QEMU writes a comma within a value twice.
    const domainName = /(?:^|,)guest=((?:[^,]|,,)*)/.exec(value("-name") ?? "")?.[1]?.replaceAll(",,", ",");
    const uuid = value("-uuid");
    // libvirt also starts QEMU to ask what it can do; that one has no guest name.
    if (domainName !== undefined && uuid !== undefined) found.push({ pid, domainName, uuid });
  }
  return found;
}

/** The direct children of a process; synchronous, because sending a signal is. */
export function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        // "pid (name) state ppid ...": the name may hold anything, so count from the last bracket.
        const fields = readFileSync(`/proc/${name}/stat`, "utf8");
        return Number(fields.slice(fields.lastIndexOf(")") + 2).split(" ")[1]) === parent;
      } catch {
        return false; // it ended while we looked
      }
    })
    .map(Number);
}

/** Sends a signal; a process that is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // Only system errors come from kill(2); ESRCH means that it ended first.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
