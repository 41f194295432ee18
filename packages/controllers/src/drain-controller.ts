/**
 * Empties hosts whose spec says `draining`, through migration tasks. Sole writer of the host's part `status/drain` and of the drain task's
 * `status/controller`; makes the tasks with verb migrate that move the machines. Asks planning/drain what to start.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, vmRefusal, vmState, type HostDrain, type RecordOf, type TaskProgress } from "@sheaf/model";
import { chooseMigrationTarget, planDrain, stoppedMoveRefusal, type DrainMachine, type DrainPlan, type TargetChoice } from "@sheaf/planning";
import type { PlacementRequest, SnapshotIndex } from "@sheaf/scheduling";
import type { Compare, Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";
import { volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";

type Host = RecordOf<"host">;
type Vm = RecordOf<"vm">;
type Task = RecordOf<"task">;

export function drainController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { cache, clock, random, agents, settings } = context;
  /** The newest move of a machine that failed: lost with this server, then it is merely tried sooner. */
  const failures = new Map<string, { readonly host: string; readonly why: string; readonly at: number }>();
  return {
    name: "drain",
    reads: ["host", "vm", "task", "volume", "pool"],
    writes: ["host/status/drain", "task/spec (migrations of a drain)", "task/status/controller (drain)"],
    initialKeys: () => [...cache.all("host")].filter(concerns).map((host) => host.id),
    *keysFor({ kind, id, record, previous }) {
      switch (kind) {
        case "host": {
          if (record && concerns(record as Host)) yield id; // the kind says so
          // Room on another host may be what a stuck machine waits for.
          else yield* draining();
          return;
        }
        case "vm":
          for (const vm of [record, previous] as (Vm | undefined)[]) {
            for (const id of [vm?.placement?.host, vm?.status.migration?.source]) {
              const host = id === undefined ? undefined : cache.get("host", id);
              if (host && concerns(host)) yield host.id;
            }
          }
          if (!record) {
            failures.delete(id);
            yield* draining();
          }
          return;
        case "task": {
          const task = (record ?? previous) as Task; // the kind says so
          if (task.spec.verb === "drain") yield task.spec.target.id;
          if (task.spec.verb !== "migrate") return;
          const at = cache.get("vm", task.spec.target.id)?.placement?.host;
          if (at === undefined) return;
          const ended = task.status.controller;
          if (ended?.state === "failed")
            failures.set(task.spec.target.id, { host: at, why: ended.problem?.detail ?? ended.message, at: ended.endedAt ?? clock.now() });
          yield at;
          return;
        }
        default:
      }
    },
    async reconcile(hostId) {
      const host = cache.get("host", hostId);
      if (!host || !concerns(host)) return undefined;
      const drainTasks = [...index.openTasks(hostId)].map((id) => cache.get("task", id)).filter((task) => task?.spec.verb === "drain") as Task[]; // those that are there
      if (host.spec.schedulable !== "draining") return stopped(host, drainTasks);
      const parallel = drainTasks[0]?.spec.parameters["maximumParallelMigrations"];
      const reserved: PlacementRequest[] = [];
      const plan = planDrain({
        machines: machinesOf(host),
        choose: (id) => choose(id, host, reserved),
        maximumParallel: Math.min(typeof parallel === "number" ? parallel : Number.POSITIVE_INFINITY, host.spec.maximumParallelMigrations),
      });
      try {
        await report(host, plan, drainTasks);
        for (const move of plan.start) await startMove(move.machineId, move.host, drainTasks[0]);
      } finally {
        // Where the move was taken up meanwhile, its own reservation stays.
        for (const request of reserved) snapshot.release(request);
      }
      return plan.done || (plan.stuck.length === 0 && plan.remaining > 0) ? undefined : settings.drainRetryMs;
    },
  };

  /** It is drained, or what was said of its drain must be taken back. */
  function concerns(host: Host): boolean {
    return (
      host.spec.schedulable === "draining" ||
      host.status.drain !== undefined ||
      [...index.openTasks(host.id)].some((id) => cache.get("task", id)?.spec.verb === "drain")
    );
  }
  function* draining(): Generator<string> {
    for (const id of index.draining) if (cache.get("host", id)?.status.drain?.done !== true) yield id;
  }

  /** Those placed there, and those that have just moved and still hold something there: only then may its power be cut. */
  function machinesOf(host: Host): DrainMachine[] {
    const leaving = [...index.migrating].filter((id) => cache.get("vm", id)?.status.migration?.source === host.id);
    return [...new Set([...index.vmsOnHost(host.id), ...leaving])].flatMap((id) => machineOf(id, host));
  }

  function machineOf(id: string, host: Host): DrainMachine[] {
    const vm = cache.get("vm", id);
    if (!vm) return [];
    const moves = [...index.openTasks(id)].map((taskId) => cache.get("task", taskId)).filter((task) => task?.spec.verb === "migrate");
    const moving = vm.status.migration !== undefined || moves.length > 0;
    const failed = lastFailure(vm, host);
    return [
      { id, memoryBytes: vm.spec.memory.bytes, moving, refusal: moving ? null : refusalOf(vm, host), ...(failed ? { lastFailure: failed } : {}) },
    ];
  }

  function refusalOf(vm: Vm, host: Host): string | null {
    if (vm.deletedAt !== undefined) return "it is being deleted";
    const state = vmState(vm, agents.connected(host.id));
    const refusal = vmRefusal("migrate", state, vm.spec);
    if (refusal !== null) return refusal;
    return state === "running" ? null : stoppedMoveRefusal(volumesOf(vm, cache), (id) => cache.get("pool", id));
  }

  function choose(id: string, host: Host, reserved: PlacementRequest[]): TargetChoice {
    const vm = cache.get("vm", id);
    if (!vm) return { why: "it is gone" };
    const request = snapshot.request(vm, "move");
    const chosen = chooseMigrationTarget({
      vm,
      source: host,
      request,
      snapshot,
      host: (other) => cache.get("host", other),
      connected: (other) => agents.connected(other),
      running: vm.status.agent?.state === "running",
    });
    if ("host" in chosen) {
      snapshot.reserve(request, chosen.host);
      reserved.push(request);
    }
    return chosen;
  }

  /** The newest failed move of this machine since it has been on this host. */
  function lastFailure(vm: Vm, host: Host): DrainMachine["lastFailure"] {
    const known = failures.get(vm.id);
    if (!known || known.host !== host.id) return undefined;
    return { why: known.why, waits: clock.now() - known.at < settings.drainRetryMs };
  }

  async function startMove(vmId: string, target: string, parent: Task | undefined): Promise<void> {
    const vm = cache.get("vm", vmId);
    if (!vm) return;
    const id = uuidv7(clock.now(), random);
    const requestedBy = parent?.spec.requestedBy ?? "system";
    const spec: Task["spec"] = {
      verb: "migrate",
      target: { kind: "vm", id: vmId, name: vm.name },
      parameters: { host: target },
      requestedBy,
      ...(parent ? { parent: parent.id } : {}),
    };
    const head = {
      kind: "task",
      id,
      name: `migrate-${id.slice(-12)}`,
      labels: {},
      generation: 1,
      createdAt: clock.now(),
      createdBy: requestedBy,
      finalizers: [],
      ...(vm.project === undefined ? {} : { project: vm.project }),
    };
    const result = await commit(context, {
      compare: [
        { key: partKey("vm", vmId, "spec"), modRevision: vm.specRevision },
        { key: partKey("vm", vmId, "status/migration"), modRevision: 0 },
      ],
      then: [put(partKey("task", id, "spec"), { ...head, spec })],
    });
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
  }

  async function report(host: Host, plan: DrainPlan, drainTasks: readonly Task[]): Promise<void> {
    const before = host.status.drain;
    const now: HostDrain = { remaining: plan.remaining, stuck: plan.stuck.map((one) => ({ ...one })), done: plan.done };
    const then: Operation[] = [];
    if (JSON.stringify(before) !== JSON.stringify(now)) then.push(put(partKey("host", host.id, "status/drain"), now));
    for (const task of drainTasks) {
      const progress = progressOf(task, plan);
      if (progress && progress.message !== task.status.controller?.message) then.push(put(partKey("task", task.id, "status/controller"), progress));
    }
    await write(host, drainTasks, then);
  }

  function progressOf(task: Task, plan: DrainPlan): TaskProgress {
    const startedAt = task.status.controller?.startedAt ?? clock.now();
    if (plan.done) return { state: "succeeded", message: "the host is empty", percent: 100, startedAt, endedAt: clock.now() };
    if (task.spec.cancelRequestedAt !== undefined)
      return {
        state: "cancelled",
        message: `no longer waited for, with ${plan.remaining} machines left; the host is still to be drained: cordon or activate it to end that`,
        startedAt,
        endedAt: clock.now(),
      };
    const stuck = plan.stuck.length === 0 ? "" : `, ${plan.stuck.length} of them cannot move now`;
    const moved = task.status.controller?.result?.["machines"];
    const total = typeof moved === "number" ? Math.max(moved, plan.remaining) : plan.remaining;
    return {
      state: "running",
      message: `${plan.remaining} machines left${stuck}`,
      percent: Math.floor((100 * (total - plan.remaining)) / Math.max(1, total)),
      startedAt,
      result: { machines: total },
    };
  }

  async function stopped(host: Host, drainTasks: readonly Task[]): Promise<undefined> {
    const then: Operation[] = host.status.drain ? [{ delete: partKey("host", host.id, "status/drain") }] : [];
    for (const task of drainTasks)
      then.push(
        put(partKey("task", task.id, "status/controller"), {
          state: "cancelled",
          message: "the host is no longer to be drained",
          startedAt: task.status.controller?.startedAt ?? task.createdAt,
          endedAt: clock.now(),
        }),
      );
    await write(host, drainTasks, then);
    return undefined;
  }

  async function write(host: Host, drainTasks: readonly Task[], then: Operation[]): Promise<void> {
    if (then.length === 0) return;
    const compare: Compare[] = [host, ...drainTasks].map((record) => ({
      key: partKey(record.kind, record.id, "spec"),
      modRevision: record.specRevision,
    }));
    const result = await commit(context, { compare, then });
    if (!result.succeeded) throw new Overtaken(`host ${host.name} changed meanwhile`);
  }
}
