/**
 * The control groups of lab hosts. Each host gets a group of its own in every version 1 hierarchy of the machine, and its cgroup
 * namespace is rooted there: limits that libvirt sets never touch another host. On a machine without version 1 hierarchies (or with
 * `cgroups: "off"`) libvirt is told to do without, and freezing stops the processes one by one. Called by lab.ts and lab-host.ts.
 */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CGROUP_ROOT, CgroupTree } from "./cgroup-tree.ts";
import { LabError } from "./lab-error.ts";
import { waitFor } from "./wait.ts";

const WANTED = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio"];

/** The version 1 hierarchies that this machine has; empty on a pure version 2 machine. */
export function controllers(): string[] {
  if (!existsSync(join(CGROUP_ROOT, "cpu/cgroup.procs"))) return [];
  return WANTED.filter((name) => existsSync(join(CGROUP_ROOT, name, "cgroup.procs")));
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
    return join(CGROUP_ROOT, controller, this.#path);
  }

  /** Words for `sh` that run a command as one of the host's. */
  enterArguments(argv: readonly string[]): string[] {
    return this.#tree(this.controllers).enterArguments(argv);
  }

  ensure(): Promise<void> {
    return this.#tree(this.controllers).ensure();
  }

  /** Processes must be gone. In all hierarchies of the machine, not only the enabled ones: an earlier run may have used them. */
  remove(): Promise<void> {
    return this.#tree(controllers()).remove();
  }

  #tree(names: readonly string[]): CgroupTree {
    return new CgroupTree(
      names.map((name) => join(CGROUP_ROOT, name)),
      this.#path,
    );
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
