/**
 * Moves of machines that a controller asks for as part of something larger: whether one can move, where to, its task, and how the last one
 * failed. Shared by the drain and maintenance controllers; the migration controller does the moving.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, type RecordOf, type TaskSpec } from "@sheaf/model";
import { chooseMigrationTarget, moveRefusal, type TargetChoice } from "@sheaf/planning";
import type { PlacementRequest, SnapshotIndex } from "@sheaf/scheduling";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext, RecordChange } from "./context.ts";
import { put } from "./packed-commit.ts";
import { volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";

type Vm = RecordOf<"vm">;
type Host = RecordOf<"host">;
type Task = RecordOf<"task">;

interface FailedMove {
  /** Where it was. */
  readonly host: string;
  readonly why: string;
  readonly at: number;
  /** Failed moves from there, one after the other. */
  readonly count: number;
  readonly task: string;
}

export class MachineMoves {
  readonly #context: ControllerContext;
  readonly #index: SiteIndex;
  readonly #snapshot: SnapshotIndex;
  /** The newest move of a machine that failed: lost with this server, then it is merely tried sooner. */
  readonly #failures = new Map<string, FailedMove>();

  constructor(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex) {
    this.#context = context;
    this.#index = index;
    this.#snapshot = snapshot;
  }

  /** Must be called with every change of the cache, in order, before anybody acts on it. */
  update({ kind, id, record, previous }: RecordChange): void {
    if (kind === "vm" && !record) this.#failures.delete(id);
    const task = kind === "task" && record !== previous ? (record as Task | undefined) : undefined; // the kind says so
    if (task?.spec.verb !== "migrate" || task.status.controller?.state !== "failed") return;
    const { cache, clock } = this.#context;
    const vmId = task.spec.target.id;
    const host = cache.get("vm", vmId)?.placement?.host;
    if (host === undefined) return;
    const before = this.failure(vmId, host);
    if (before?.task === id) return;
    const { problem, message, endedAt } = task.status.controller;
    const count = (before?.count ?? 0) + 1;
    this.#failures.set(vmId, { host, why: problem?.detail ?? message, at: endedAt ?? clock.now(), count, task: id });
  }

  /** The newest failed move of this machine since it has been on that host. */
  failure(vmId: string, host: string): FailedMove | undefined {
    const known = this.#failures.get(vmId);
    return known?.host === host ? known : undefined;
  }

  moving(vm: Vm): boolean {
    const { cache } = this.#context;
    return vm.status.migration !== undefined || [...this.#index.openTasks(vm.id)].some((id) => cache.get("task", id)?.spec.verb === "migrate");
  }

  refusal(vm: Vm, host: string): string | null {
    const { cache, agents } = this.#context;
    return moveRefusal(vm, agents.connected(host), volumesOf(vm, cache), (id) => cache.get("pool", id));
  }

  /** Whether that host could be the one a machine of `source` waits for, as far as its memory goes. O(1). */
  mayFit(vm: Vm | undefined, source: Host, hostId: string): boolean {
    const usage = this.#snapshot.usage(hostId);
    if (!vm || !usage || hostId === source.id || vm.placement?.host !== source.id) return false;
    if (this.#context.cache.get("host", hostId)?.spec.cluster !== source.spec.cluster) return false;
    const { memoryBytes, hugepages } = this.#snapshot.request(vm, "move");
    const free = hugepages ? usage.hugepageCapacityBytes - usage.hugepageUsedBytes : usage.memoryCapacityBytes - usage.memoryUsedBytes;
    return memoryBytes <= free && this.refusal(vm, source.id) === null;
  }

  /**
   * Counts the choice in.
   * @param reserved grows by what was counted in: to be given to `release` when the task is there, or was not made
   * @param target the only one wanted; absent: the best
   */
  choose(vm: Vm, source: Host, reserved: PlacementRequest[], target?: string): TargetChoice {
    const { cache, agents } = this.#context;
    const request = this.#snapshot.request(vm, "move");
    const chosen = chooseMigrationTarget({
      vm,
      source,
      request,
      snapshot: this.#snapshot,
      host: (other) => cache.get("host", other),
      connected: (other) => agents.connected(other),
      running: vm.status.agent?.state === "running",
      ...(target === undefined ? {} : { target }),
    });
    if ("host" in chosen) {
      this.#snapshot.reserve(request, chosen.host);
      reserved.push(request);
    }
    return chosen;
  }

  release(request: PlacementRequest): void {
    this.#snapshot.release(request);
  }

  /** @throws Overtaken when the machine changed meanwhile */
  async start(vmId: string, target: string, parent: Task | undefined): Promise<void> {
    const { cache, clock, random } = this.#context;
    const vm = cache.get("vm", vmId);
    if (!vm) return;
    const id = uuidv7(clock.now(), random);
    const requestedBy = parent?.spec.requestedBy ?? "system";
    const spec: TaskSpec = {
      verb: "migrate",
      target: { kind: "vm", id: vmId, name: vm.name },
      parameters: { host: target },
      requestedBy,
      ...(parent ? { parent: parent.id } : {}),
    };
    const result = await commit(this.#context, {
      compare: [
        { key: partKey("vm", vmId, "spec"), modRevision: vm.specRevision },
        { key: partKey("vm", vmId, "status/migration"), modRevision: 0 },
      ],
      then: [put(partKey("task", id, "spec"), newTask(id, spec, clock.now(), vm.project))],
    });
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
  }
}

/** The spec part of a task that a controller makes. */
export const newTask = (id: string, spec: TaskSpec, createdAt: number, project?: string) => ({
  kind: "task",
  id,
  name: `${spec.verb}-${id.slice(-12)}`,
  labels: {},
  generation: 1,
  createdAt,
  createdBy: spec.requestedBy,
  finalizers: [],
  ...(project === undefined ? {} : { project }),
  spec,
});
