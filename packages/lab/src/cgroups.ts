/**
 * The control groups of lab hosts. Each host gets a group of its own in every version 1 hierarchy of the machine, and its cgroup
 * namespace is rooted there: limits that libvirt sets never touch another host. On a machine without version 1 hierarchies (or with
 * `cgroups: "off"`) libvirt is told to do without, and freezing stops the processes one by one. Called by lab.ts and lab-host.ts.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LabError } from "./lab-error.ts";
import { waitFor } from "./wait.ts";

const ROOT = "/sys/fs/cgroup";
const WANTED = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio"];

/** The version 1 hierarchies that this machine has; empty on a pure version 2 machine. */
export function controllers(): string[] {
  if (!existsSync(join(ROOT, "cpu/cgroup.procs"))) return [];
  return WANTED.filter((name) => existsSync(join(ROOT, name, "cgroup.procs")));
}

export class HostCgroups {
  readonly controllers: readonly string[];
  readonly #path: string;

  /** `path` is `LAB/HOST`, or `LAB` for the parent of all of a lab's groups. */
  constructor(path: string, enabled: boolean) {
    this.#path = path;
    this.controllers = enabled ? controllers() : [];
  }

  #directory(controller: string): string {
    return join(ROOT, controller, this.#path);
  }

  /** The files into which a process writes its number to join the host. */
  joinFiles(): string[] {
    return this.controllers.map((name) => join(this.#directory(name), "cgroup.procs"));
  }

  async ensure(): Promise<void> {
    for (const controller of this.controllers) {
      const directory = this.#directory(controller);
      for (const each of [dirname(directory), directory]) {
        await mkdir(each, { recursive: true });
        if (controller !== "cpuset") continue;
        // A new cpuset is empty and takes no process until both files are filled.
        for (const file of ["cpuset.cpus", "cpuset.mems"]) {
          if ((await readFile(join(each, file), "utf8")).trim() !== "") continue;
          await writeFile(join(each, file), await readFile(join(dirname(each), file)));
        }
      }
    }
  }

  /** Removes the groups with all below them. Processes must be gone; the kernel needs a moment to notice, so this waits. */
  async remove(): Promise<void> {
    // All hierarchies of the machine, not only the enabled ones: an earlier run may have used them.
    for (const controller of controllers()) {
      const directory = this.#directory(controller);
      await waitFor(() => removeTree(directory), { timeoutMs: 10_000, what: `removal of the control group ${directory}` });
    }
  }

  get #freezer(): string | undefined {
    return this.controllers.includes("freezer") ? join(this.#directory("freezer"), "freezer.state") : undefined;
  }

  get canFreeze(): boolean {
    return this.#freezer !== undefined && existsSync(this.#freezer);
  }

  async isFrozen(): Promise<boolean> {
    if (this.#freezer === undefined) return false;
    const state = await readFile(this.#freezer, "utf8").catch(() => "THAWED");
    return state.trim() !== "THAWED";
  }

  async freeze(): Promise<void> {
    const file = this.#freezer;
    if (file === undefined) throw new LabError("this machine has no cgroup v1 freezer");
    await writeFile(file, "FROZEN");
    await waitFor(async () => (await readFile(file, "utf8")).trim() === "FROZEN", { what: "freezing of all processes" });
  }

  async thaw(): Promise<void> {
    if (this.#freezer !== undefined && existsSync(this.#freezer)) await writeFile(this.#freezer, "THAWED");
  }

  /** Holds reads and writes of one disk (`major:minor`) to so many bytes a second each; undefined lifts the limit. */
  async limitDisk(device: string, bytesPerSecond: number | undefined): Promise<void> {
    for (const direction of ["read", "write"]) {
      const file = join(this.#directory("blkio"), `blkio.throttle.${direction}_bps_device`);
      if (!this.controllers.includes("blkio") || !existsSync(file))
        throw new LabError("this machine cannot slow a disk: it has no blkio throttle of cgroup v1");
      await writeFile(file, `${device} ${bytesPerSecond ?? 0}`);
    }
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
