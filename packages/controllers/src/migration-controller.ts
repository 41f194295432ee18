/**
 * Moves machines between hosts: takes up tasks with the verb migrate, checks them, chooses the target, and drives each through planning's table
 * (migration-drive). Sole writer of `status/migration` and of these tasks' `status/controller`; moves `placement` on by compare-and-set.
 * A stopped machine whose disks are all shared is given to the target by one transaction.
 */
import {
  type NumaPlacement,
  partKey,
  placedDevices,
  SheafError,
  vmRefusal,
  vmState,
  type Placement,
  type ProblemCode,
  type RecordOf,
  type TaskProgress,
} from "@sheaf/model";
import { chooseMigrationTarget, hasEnded, stoppedMoveRefusal } from "@sheaf/planning";
import type { SnapshotIndex } from "@sheaf/scheduling";
import type { Compare, Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { MigrationDrive } from "./migration-drive.ts";
import { migrationOf, type MigrationRecord } from "./migration-record.ts";
import { put } from "./packed-commit.ts";
import { clusterOf, volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";

type Vm = RecordOf<"vm">;
type Task = RecordOf<"task">;

export function migrationController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { cache, clock, store, agents, logger, tasks } = context;
  const drives = new Map<string, MigrationDrive>();
  /** Machines whose task waits until a host has fewer migrations under way. */
  const queued = new Set<string>();
  let leading = new AbortController();
  let enqueue: (key: string, afterMs?: number) => void = () => {};

  return {
    name: "migration",
    reads: ["vm", "task", "host", "cluster", "volume", "pool"],
    writes: ["vm/status/migration", "vm/placement (compare-and-set)", "volume/placement (compare-and-set)", "task/status/controller (migrate)"],
    // One check at a time: each counts on the slots that the one before it took. The copying itself runs beside.
    concurrency: 1,
    initialKeys: () => new Set([...index.migrating, ...[...cache.all("task")].filter(isOpen).map((task) => task.spec.target.id)]),
    *keysFor({ kind, id, record, previous }) {
      if (kind === "task") {
        // The end of one, too: the next that was asked for of this machine is taken up then.
        const task = (record ?? previous) as Task; // the kind says so
        if (isMove(task)) yield task.spec.target.id;
      }
      if (kind === "host" && (record as RecordOf<"host"> | undefined)?.status.fencing?.state === "fenced") hurry(id); // the kind says so
      if (kind !== "vm") return;
      const now = record as Vm | undefined; // the kind says so
      const before = previous as Vm | undefined;
      if (now?.status.migration && !drives.has(id)) yield id;
      if (before?.status.migration && !now?.status.migration) yield* [id, ...queued];
    },
    begin(wake) {
      enqueue = wake;
      leading = new AbortController();
      const end = agents.subscribe(({ hostId, connected }) => {
        if (connected) hurry(hostId);
      });
      return () => {
        end();
        leading.abort(new SheafError("unavailable", "this server leads no more"));
        drives.clear();
        queued.clear();
      };
    },
    async reconcile(vmId) {
      const vm = cache.get("vm", vmId);
      const record = vm && migrationOf(vm);
      queued.delete(vmId);
      if (record) {
        const drive = drives.get(vmId) ?? start(vmId, record, true);
        if (cache.get("task", record.task)?.spec.cancelRequestedAt !== undefined) drive.cancel(cancelled());
        return undefined;
      }
      // What has just ended may still hold its place: its end wakes this again.
      if (drives.has(vmId)) return undefined;
      const task = oldestTask(vmId);
      if (task) await takeUp(task, vm);
      return undefined;
    },
  };

  /** That host answers again, or never will: what waits for it is tried now. */
  function hurry(hostId: string): void {
    for (const vmId of index.migrating) {
      const moving = cache.get("vm", vmId)?.status.migration;
      if (moving?.source === hostId || moving?.target === hostId) drives.get(vmId)?.hurry();
    }
  }

  function oldestTask(vmId: string): Task | undefined {
    return [...index.openTasks(vmId)]
      .map((id) => cache.get("task", id))
      .filter((task) => task !== undefined && isOpen(task))
      .toSorted((a, b) => (a && b && a.id < b.id ? -1 : 1))[0];
  }

  function start(vmId: string, record: MigrationRecord, recovered: boolean): MigrationDrive {
    const drive = new MigrationDrive({ context, vmId, stop: leading.signal });
    const { signal } = leading;
    drives.set(vmId, drive);
    drive
      .run(record, recovered)
      .catch((error: unknown) => logger.error({ vm: vmId, error: String(error) }, "a migration's drive failed; it is taken up again"))
      .finally(() => {
        if (drives.get(vmId) === drive) drives.delete(vmId);
        if (!signal.aborted) enqueue(vmId, 100);
      });
    return drive;
  }

  async function takeUp(task: Task, vm: Vm | undefined): Promise<void> {
    if (task.spec.cancelRequestedAt !== undefined) return end(task, { state: "cancelled", message: "cancelled before it began" });
    if (!vm) return refuse(task, "not-found", "the machine was deleted meanwhile");
    const placement = vm.placement;
    const source = placement && cache.get("host", placement.host);
    const reachable = source !== undefined && agents.connected(source.id);
    const refusal = vmRefusal("migrate", vmState(vm, reachable), vm.spec);
    if (refusal !== null) return refuse(task, "state-refused", refusal);
    if (!placement || !source) return refuse(task, "state-refused", "it has no host yet");
    const running = vm.status.agent?.state === "running";
    const wanted = task.spec.parameters["host"];
    const volumes = volumesOf(vm, cache);
    const localRefusal = running ? null : stoppedMoveRefusal(vm, volumes, (id) => cache.get("pool", id));
    if (localRefusal !== null) return refuse(task, "state-refused", localRefusal);
    const request = snapshot.request(vm, "move");
    const chosen = chooseMigrationTarget({
      vm,
      source,
      request,
      snapshot,
      host: (id) => cache.get("host", id),
      connected: (id) => agents.connected(id),
      running,
      ...(typeof wanted === "string" ? { target: hostId(wanted) } : {}),
    });
    if ("why" in chosen) return refuse(task, "no-capacity", chosen.why);
    const target = cache.get("host", chosen.host);
    if (!target) throw new Overtaken("the target was removed meanwhile");
    const busy = running && [source, target].find((host) => underWay(host.id) >= host.spec.maximumParallelMigrations);
    if (busy) return wait(task, vm, `waiting: ${busy.name} has ${underWay(busy.id)} migrations under way`);
    const numa = snapshot.reserve(request, target.id);
    try {
      if (running) await begin(task, vm, placement, source, target, volumes, numa);
      else await giveOver(task, vm, source, target, volumes, numa);
    } finally {
      // The record says it now, or nothing was begun.
      snapshot.release(request);
    }
  }

  function hostId(reference: string): string {
    return cache.get("host", reference)?.id ?? cache.byName("host", "-", reference)?.id ?? reference;
  }

  function underWay(host: string): number {
    let count = 0;
    for (const id of index.migrating) {
      const moving = cache.get("vm", id)?.status.migration;
      if (moving?.source === host || moving?.target === host) count += 1;
    }
    return count;
  }

  async function wait(task: Task, vm: Vm, message: string): Promise<void> {
    queued.add(vm.id);
    if (task.status.controller?.message.startsWith("waiting: ") === true) return;
    await commit(context, { compare: [unchanged(task)], then: [progressOf(task, { state: "running", message, startedAt: clock.now() })] });
  }

  async function begin(
    task: Task,
    vm: Vm,
    placement: Placement,
    source: RecordOf<"host">,
    target: RecordOf<"host">,
    volumes: readonly RecordOf<"volume">[],
    numa: NumaPlacement | undefined,
  ): Promise<void> {
    const copied = volumes.filter((volume) => cache.get("pool", volume.spec.pool)?.spec.type !== "shared");
    const now = clock.now();
    const record: MigrationRecord = {
      task: task.id,
      phase: "begun",
      source: source.id,
      target: target.id,
      since: now,
      startedAt: now,
      epoch: placement.epoch,
      sharedStorage: copied.length === 0,
      targetAddress: target.spec.migrationAddress ?? target.status.agent?.address ?? "",
      copyVolumes: copied.map(({ id, spec }) => ({
        volumeId: id,
        sizeBytes: spec.sizeBytes,
        format: spec.format,
        ...(spec.source && "image" in spec.source && spec.source.clone === "linked" ? { image: spec.source.image } : {}),
      })),
      cookie: "",
      uri: "",
      ...(placement.numa === undefined ? {} : { sourceNuma: placement.numa }),
      ...(numa === undefined ? {} : { targetNuma: numa }),
      ...limitsOf(task, clusterOf(source, cache)),
    };
    const key = partKey("vm", vm.id, "status/migration");
    const entry = await store.get(partKey("vm", vm.id, "placement"));
    if (!entry) throw new Overtaken("the machine's placement changed meanwhile");
    const result = await commit(context, {
      compare: [unchanged(vm), unchanged(task), { key, modRevision: 0 }, { key: entry.key, modRevision: entry.modRevision }],
      then: [put(key, record), progressOf(task, { state: "running", message: `moving from ${source.name} to ${target.name}`, startedAt: now })],
    });
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
    logger.info({ vm: vm.name, task: task.id, from: source.name, to: target.name }, "a migration began");
    start(vm.id, record, false);
  }

  /** A machine that stays down: its placement alone moves, after its host has said once more that nothing of it runs there. */
  async function giveOver(
    task: Task,
    vm: Vm,
    source: RecordOf<"host">,
    target: RecordOf<"host">,
    volumes: readonly RecordOf<"volume">[],
    numa: NumaPlacement | undefined,
  ): Promise<void> {
    const { state } = await agents.call(source.id, "vm.probe", { vmId: vm.id }, { timeoutMs: context.settings.migrationCallMs });
    if (state !== "absent" && state !== "stopped") return refuse(task, "state-refused", `it is ${state} on ${source.name}: try again`);
    const compare: Compare[] = [unchanged(vm), unchanged(task), { key: partKey("vm", vm.id, "status/migration"), modRevision: 0 }];
    const then: Operation[] = [];
    const placementKey = partKey("vm", vm.id, "placement");
    for (const key of [placementKey, ...volumes.map((volume) => partKey("volume", volume.id, "placement"))]) {
      const entry = await store.get(key);
      if (!entry) continue;
      const before = JSON.parse(entry.value) as Placement; // written by this package alone
      if (before.host !== source.id) continue;
      compare.push({ key, modRevision: entry.modRevision });
      // The devices it had stay there, and its cells.
      const { adoption: _adoption, gpus: _gpus, pciDevices: _pciDevices, numa: _numa, ...kept } = before;
      then.push(
        put(key, {
          ...kept,
          ...(key === placementKey ? placedDevices(snapshot.reservedDevices(vm.id)) : {}),
          host: target.id,
          epoch: before.epoch + 1,
          incarnation: store.incarnation,
          reason: `moved from ${source.name}`,
          ...(key === placementKey && numa !== undefined ? { numa } : {}),
          at: clock.now(),
        }),
      );
    }
    const message = `moved, stopped, from ${source.name} to ${target.name}`;
    then.push(
      progressOf(task, {
        state: "succeeded",
        message,
        percent: 100,
        startedAt: clock.now(),
        endedAt: clock.now(),
        result: { source: source.id, target: target.id },
      }),
    );
    const result = await commit(context, { compare, then });
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
  }

  async function refuse(task: Task, code: ProblemCode, detail: string): Promise<void> {
    await end(task, { state: "failed", message: `not moved: ${detail}`, problem: { code, detail } });
  }
  async function end(task: Task, progress: Pick<TaskProgress, "state" | "message" | "problem">): Promise<void> {
    tasks.append(task.id, progress.message);
    const startedAt = task.status.controller?.startedAt ?? clock.now();
    const result = await commit(context, { compare: [unchanged(task)], then: [progressOf(task, { ...progress, startedAt, endedAt: clock.now() })] });
    if (!result.succeeded) throw new Overtaken("the task changed meanwhile");
  }
  function cancelled(): SheafError {
    return new SheafError("cancelled", "it was cancelled");
  }
}

const isMove = (task: Task): boolean => task.spec.verb === "migrate" && task.spec.target.kind === "vm";
const isOpen = (task: Task): boolean => isMove(task) && !hasEnded(task);
const unchanged = (record: Vm | Task): Compare => ({ key: partKey(record.kind, record.id, "spec"), modRevision: record.specRevision });
const progressOf = (task: Task, progress: TaskProgress): Operation => put(partKey("task", task.id, "status/controller"), progress);

const defaultDeadlineMs = 3_600_000;
/** The task's wishes before the cluster's (contract: the body of `vm.migrate`, checked by the API). */
function limitsOf({ spec: { parameters } }: Task, cluster: RecordOf<"cluster"> | undefined) {
  const wishes = cluster?.spec.migration;
  const number = (name: string, otherwise: number): number => {
    const value = parameters[name];
    return typeof value === "number" ? value : otherwise;
  };
  const flag = (name: string, otherwise: boolean): boolean => {
    const value = parameters[name];
    return typeof value === "boolean" ? value : otherwise;
  };
  return {
    bandwidthBytesPerSecond: number("bandwidthBytesPerSecond", wishes?.bandwidthBytesPerSecond ?? 0),
    maximumDowntimeMs: number("maximumDowntimeMs", wishes?.maximumDowntimeMs ?? 300),
    autoConverge: flag("autoConverge", wishes?.autoConverge ?? true),
    postCopy: flag("postCopy", wishes?.postCopy ?? false),
    deadlineMs: number("deadlineMs", defaultDeadlineMs),
  };
}
