/**
 * A control group of one path in several hierarchies. Processes that join it make theirs below it, so that all of them can be taken away
 * together. Called by cgroups.ts for lab hosts, and by tests that boot an init system.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { waitFor } from "./wait.ts";

export const CGROUP_ROOT = "/sys/fs/cgroup";

/** Joins control groups before anything else runs: number of files, the files, the command. */
const ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1"; shift; n=$((n-1)); done; exec "$@"';

/** Directories of all hierarchies of this machine: version 2's only one, or version 1's with the unified one beside them. */
export async function cgroupHierarchies(): Promise<string[]> {
  if (existsSync(join(CGROUP_ROOT, "cgroup.procs"))) return [CGROUP_ROOT];
  const names = await readdir(CGROUP_ROOT).catch(() => []);
  return names.map((name) => join(CGROUP_ROOT, name)).filter((hierarchy) => existsSync(join(hierarchy, "cgroup.procs")));
}

export class CgroupTree {
  readonly #groups: readonly string[];

  /** `path` lies in each hierarchy's root, and has at most one group above it. */
  constructor(hierarchies: readonly string[], path: string) {
    this.#groups = hierarchies.map((hierarchy) => join(hierarchy, path));
  }

  /** Words for `sh` that run a command in the groups; with `-e` before them it does not run where one cannot be joined. */
  enterArguments(argv: readonly string[]): string[] {
    const files = this.#groups.map((group) => join(group, "cgroup.procs"));
    return ["-c", ENTER, "enter", String(files.length), ...files, ...argv];
  }

  async ensure(): Promise<void> {
    for (const group of this.#groups) {
      for (const each of [dirname(group), group]) {
        await mkdir(each, { recursive: true });
        // A new cpuset of version 1 is empty and takes no process until both files are filled.
        if (!existsSync(join(each, "cpuset.memory_migrate"))) continue;
        for (const file of ["cpuset.cpus", "cpuset.mems"]) {
          if ((await readFile(join(each, file), "utf8")).trim() !== "") continue;
          await writeFile(join(each, file), await readFile(join(dirname(each), file)));
        }
      }
    }
  }

  /** Removes the groups with all below them. Processes must be gone; the kernel needs a moment to notice, so this waits. */
  async remove(): Promise<void> {
    for (const group of this.#groups) await waitFor(() => removeTree(group), { timeoutMs: 10_000, what: `removal of the control group ${group}` });
  }
}

/** True when the tree is gone. A group is removed like a directory, though it looks full of files. */
async function removeTree(directory: string): Promise<boolean> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => null);
  if (entries === null) return true;
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(directory, entry.name));
  return rmdir(directory).then(
    () => true,
    () => false,
  );
}
