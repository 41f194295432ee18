/**
 * Snapshots inside a machine's disks on its way to another host. libvirt moves no domain that has any, though with shared disks the
 * snapshots themselves are there already: what it knows of them is put aside beside the machine's first disk, taken away from it, and given
 * to whichever host has the machine in the end. Called by the migration calls, and at each look at a machine that does not move.
 * What was put aside goes only when libvirt has it again.
 */
import type { Logger } from "@sheaf/base";
import { type RecordOf, SheafError } from "@sheaf/model";
import { z } from "zod";
import { volumePath } from "./host-paths.ts";
import type { KeptState } from "./kept-state.ts";
import type { Files, Hypervisor } from "./ports.ts";

type Vm = RecordOf<"vm">;

const PutAside = z.object({ snapshots: z.array(z.object({ xml: z.string(), current: z.boolean() })) });

export interface MachineSnapshotsOptions {
  readonly kept: KeptState;
  readonly files: Files;
  readonly hypervisor: Hypervisor;
  readonly logger: Logger;
}

/** What lies beside a disk; it goes with the disk. */
export const snapshotsPath = (diskPath: string): string => `${diskPath}.snapshots`;

export class MachineSnapshots {
  readonly #options: MachineSnapshotsOptions;

  constructor(options: MachineSnapshotsOptions) {
    this.#options = options;
  }

  /** @throws SheafError `state-refused` where disks are copied: what is inside them besides their present content does not come along */
  async putAside(vm: Vm, sharedStorage: boolean): Promise<void> {
    const { hypervisor, files, logger } = this.#options;
    const snapshots = await hypervisor.snapshots(vm.id);
    if (snapshots.length === 0) return;
    const path = this.#path(vm);
    if (!sharedStorage || path === null)
      throw new SheafError(
        "state-refused",
        `it has ${snapshots.length} ${snapshots.length === 1 ? "snapshot" : "snapshots"}, which lie inside disks that would be copied without them`,
        { next: "Delete the snapshots, or keep the machine's disks in a shared pool." },
      );
    await files.writeAtomic(path, JSON.stringify({ snapshots: [...snapshots] } satisfies z.infer<typeof PutAside>), { mode: 0o600 });
    await hypervisor.forgetSnapshots(vm.id);
    logger.info({ vm: vm.id, snapshots: snapshots.length }, "a machine's snapshots were put aside for its move");
  }

  /** Does nothing where nothing was put aside. The machine must be this host's, and not move. */
  async bringBack(vm: Vm): Promise<void> {
    const { hypervisor, files, logger } = this.#options;
    const path = this.#path(vm);
    const text = path === null ? null : await files.readText(path);
    if (path === null || text === null || !(await hypervisor.domain(vm.id))?.mark) return;
    const { snapshots } = PutAside.parse(JSON.parse(text));
    await hypervisor.defineSnapshots(vm.id, snapshots);
    await files.remove(path);
    logger.info({ vm: vm.id, snapshots: snapshots.length }, "a machine has its snapshots again");
  }

  #path(vm: Vm): string | null {
    const { kept } = this.#options;
    for (const disk of vm.spec.disks) {
      const volume = disk.volume === undefined ? undefined : kept.document("volume", disk.volume);
      const pool = volume && kept.document("pool", volume.spec.pool);
      if (volume && pool?.spec.type === "shared") return snapshotsPath(volumePath(pool, volume));
    }
    return null;
  }
}
