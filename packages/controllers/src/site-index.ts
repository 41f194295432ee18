/**
 * Back references over the cache that the controllers share, kept up to date change by change, so that no look walks all machines: which
 * machine holds a volume, what is placed on a host, what is started after a machine, which open tasks concern a record, what has no host yet, what is being deleted.
 */
import { hasEnded } from "@sheaf/planning";
import { kinds, type RecordOf } from "@sheaf/model";
import type { RecordCache, RecordChange } from "./context.ts";

export class SiteIndex {
  readonly vmOfVolume = new Map<string, string>();
  readonly #vmsOnHost = new Map<string, Set<string>>();
  /** Machine → those that are to be started after it. */
  readonly #startedAfter = new Map<string, Set<string>>();
  readonly #openTasks = new Map<string, Set<string>>();
  /** Machines and volumes without placement that are not being deleted. */
  readonly unplacedVms = new Set<string>();
  readonly unplacedVolumes = new Set<string>();
  readonly migrating = new Set<string>();
  /** Hosts that are to be emptied. */
  readonly draining = new Set<string>();
  /** Hosts that are being woken. */
  readonly waking = new Set<string>();
  /** Hosts that remember machines, or are to. */
  readonly inMaintenance = new Set<string>();
  /** `kind/id` of records that wait until nothing refers to them. */
  readonly deleting = new Set<string>();

  constructor(cache: RecordCache) {
    for (const kind of kinds) for (const record of cache.all(kind)) this.update({ kind, id: record.id, record });
  }

  vmsOnHost(hostId: string): ReadonlySet<string> {
    return this.#vmsOnHost.get(hostId) ?? none;
  }
  startedAfter(vmId: string): ReadonlySet<string> {
    return this.#startedAfter.get(vmId) ?? none;
  }
  /** Tasks about this record that have not ended. */
  openTasks(targetId: string): ReadonlySet<string> {
    return this.#openTasks.get(targetId) ?? none;
  }

  /** Must be called with every change of the cache, in order, before anybody acts on it. */
  update({ kind, id, record, previous }: RecordChange): void {
    const key = `${kind}/${id}`;
    if (record?.deletedAt !== undefined) this.deleting.add(key);
    else this.deleting.delete(key);
    switch (kind) {
      case "vm":
        // The kind says what the record is.
        this.#updateVm(id, record as RecordOf<"vm"> | undefined, previous as RecordOf<"vm"> | undefined);
        break;
      case "volume":
        keep(this.unplacedVolumes, id, record !== undefined && record.placement === undefined && record.deletedAt === undefined);
        break;
      case "host": {
        const host = record as RecordOf<"host"> | undefined;
        keep(this.waking, id, host?.status.power?.state === "waking");
        keep(this.draining, id, host?.spec.schedulable === "draining");
        keep(this.inMaintenance, id, host !== undefined && (host.spec.maintenance || host.status.maintenance !== undefined));
        break;
      }
      case "task":
        this.#updateTask(id, record as RecordOf<"task"> | undefined, previous as RecordOf<"task"> | undefined);
        break;
      default:
    }
  }

  #updateVm(id: string, vm: RecordOf<"vm"> | undefined, previous: RecordOf<"vm"> | undefined): void {
    keep(this.unplacedVms, id, vm !== undefined && vm.placement === undefined && vm.deletedAt === undefined);
    keep(this.migrating, id, vm?.status.migration !== undefined);
    if (vm?.placement?.host !== previous?.placement?.host) {
      if (previous?.placement) remove(this.#vmsOnHost, previous.placement.host, id);
      if (vm?.placement) add(this.#vmsOnHost, vm.placement.host, id);
    }
    if (vm?.spec === previous?.spec) return;
    for (const other of previous?.spec.restart.after?.machines ?? []) remove(this.#startedAfter, other, id);
    for (const other of vm?.spec.restart.after?.machines ?? []) add(this.#startedAfter, other, id);
    for (const { volume } of previous?.spec.disks ?? [])
      if (volume !== undefined && this.vmOfVolume.get(volume) === id) this.vmOfVolume.delete(volume);
    for (const { volume } of vm?.spec.disks ?? []) if (volume !== undefined) this.vmOfVolume.set(volume, id);
  }

  #updateTask(id: string, task: RecordOf<"task"> | undefined, previous: RecordOf<"task"> | undefined): void {
    const target = (task ?? previous)?.spec.target.id ?? "";
    if (task !== undefined && !hasEnded(task)) add(this.#openTasks, target, id);
    else remove(this.#openTasks, target, id);
  }
}

const none: ReadonlySet<string> = new Set();
function keep(set: Set<string>, id: string, holds: boolean): void {
  if (holds) set.add(id);
  else set.delete(id);
}
function add(map: Map<string, Set<string>>, key: string, id: string): void {
  const set = map.get(key);
  if (set) set.add(id);
  else map.set(key, new Set([id]));
}
function remove(map: Map<string, Set<string>>, key: string, id: string): void {
  const set = map.get(key);
  if (set?.delete(id) && set.size === 0) map.delete(key);
}
