/**
 * One change of a lab at a time, over all processes of the machine. The lock is held by a `flock` child that ends when its
 * standard input closes: a caller that dies in the middle, even by SIGKILL, gives the lock back.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { LabError } from "./lab-error.ts";

/** Runs `work` while this process holds the lock file at `path`. The file stays; it is empty. */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const holder = spawn("flock", ["--exclusive", path, "sh", "-c", "echo held; exec cat"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(holder, "close");
  ended.catch(() => {});
  const held = await Promise.race([once(holder.stdout, "data"), ended]);
  if (!Buffer.isBuffer(held[0])) throw new LabError(`the lock ${path} cannot be taken: flock ended with ${String(held[0])}`);
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await ended;
  }
}
