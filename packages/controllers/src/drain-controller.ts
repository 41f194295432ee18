/**
 * Empties hosts whose spec says `draining`, through migration tasks. Sole writer of the host's part `status/drain` and of
 * `status/controller` of tasks with verb drain, and maintain of a host; makes the tasks with verb migrate that move the machines. Asks planning/drain what to start.
 */
import { partKey, type HostDrain, type RecordOf, type TaskProgress } from "@sheaf/model";
import { planDrain, type DrainMachine, type DrainPlan } from "@sheaf/planning";
import type { PlacementRequest } from "@sheaf/scheduling";
import type { Compare, Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import type { MachineMoves } from "./machine-moves.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";

type Host = RecordOf<"host">;
type Task = RecordOf<"task">;

const roomLookMs = 1000;

export function drainController(context: ControllerContext, index: SiteIndex, moves: MachineMoves): Controller {
  const { cache, clock, settings } = context;
  /** When (monotonic) each draining host was last looked at. */
  const lookedAt = new Map<string, number>();
  let later: (hostId: string, afterMs: number) => void = () => {};
  return {
    name: "drain",
    reads: ["host", "vm", "task", "volume", "pool"],
    writes: ["host/status/drain", "task/spec (migrations of a drain)", "task/status/controller (drain, maintain of a host)"],
    initialKeys: () => [...cache.all("host")].filter(concerns).map((host) => host.id),
    *keysFor({ kind, id, record, previous }) {
      switch (kind) {
        case "host": {
          const [host, before] = [record, previous] as (Host | undefined)[]; // the kind says so
          if (!host) lookedAt.delete(id);
          if (host && concerns(host)) yield id;
          else if (host && offersMore(host, before)) yield* waitingForRoomOn(id);
          return;
        }
        case "vm":
          for (const vm of [record, previous] as (RecordOf<"vm"> | undefined)[]) {
            for (const id of [vm?.placement?.host, vm?.status.migration?.source]) {
              const host = id === undefined ? undefined : cache.get("host", id);
              if (host && concerns(host)) yield host.id;
            }
          }
          yield* waitingForRoomOn(roomGainedOn(record as RecordOf<"vm"> | undefined, previous as RecordOf<"vm"> | undefined)); // the kind says so
          return;
        case "task": {
          const task = (record ?? previous) as Task; // the kind says so
          if (empties(task)) yield task.spec.target.id;
          if (task.spec.verb !== "migrate") return;
          const at = cache.get("vm", task.spec.target.id)?.placement?.host;
          if (at !== undefined) yield at;
          return;
        }
        default:
      }
    },
    begin(enqueue) {
      later = enqueue;
      return () => (later = () => {});
    },
    async reconcile(hostId) {
      lookedAt.set(hostId, clock.monotonic());
      const host = cache.get("host", hostId);
      if (!host || !concerns(host)) return undefined;
      const drainTasks = [...index.openTasks(hostId)].map((id) => cache.get("task", id)).filter((task) => task && empties(task)) as Task[]; // those that are there
      if (host.spec.schedulable !== "draining") return stopped(host, drainTasks);
      // What is to come back is put on record before anything leaves.
      if (host.spec.maintenance && host.status.maintenance?.state !== "emptying") return undefined;
      const parallel = drainTasks[0]?.spec.parameters["maximumParallelMigrations"];
      const reserved: PlacementRequest[] = [];
      const plan = planDrain({
        machines: machinesOf(host),
        choose: (id) => {
          const vm = cache.get("vm", id);
          return vm ? moves.choose(vm, host, reserved) : { why: "it is gone" };
        },
        maximumParallel: Math.min(typeof parallel === "number" ? parallel : Number.POSITIVE_INFINITY, host.spec.maximumParallelMigrations),
      });
      try {
        await report(host, plan, drainTasks);
        for (const move of plan.start) await moves.start(move.machineId, move.host, drainTasks[0]);
      } finally {
        // Where the move was taken up meanwhile, its own reservation stays.
        for (const request of reserved) moves.release(request);
      }
      return plan.done || (plan.stuck.length === 0 && plan.remaining > 0) ? undefined : settings.drainRetryMs;
    },
  };

  /** It is drained, or what was said of its drain must be taken back. */
  function concerns(host: Host): boolean {
    return (
      host.spec.schedulable === "draining" ||
      host.status.drain !== undefined ||
      [...index.openTasks(host.id)].some((id) => {
        const task = cache.get("task", id);
        return task !== undefined && empties(task);
      })
    );
  }

  /**
   * Draining hosts with a machine that could not move and would fit there. Each look ranks all hosts: where many hosts gain room one after
   * the other, it is taken at most once in a while.
   */
  function* waitingForRoomOn(hostId: string | undefined): Generator<string> {
    if (hostId === undefined) return;
    for (const id of index.draining) {
      const drained = cache.get("host", id);
      const stuck = drained?.status.drain?.stuck ?? [];
      if (!drained || !stuck.some(({ vm }) => moves.mayFit(cache.get("vm", vm), drained, hostId))) continue;
      const waitMs = (lookedAt.get(id) ?? Number.NEGATIVE_INFINITY) + roomLookMs - clock.monotonic();
      if (waitMs > 0) later(id, waitMs);
      else yield id;
    }
  }

  /** Those placed there, and those that have just moved and still hold something there: only then may its power be cut. */
  function machinesOf(host: Host): DrainMachine[] {
    const leaving = [...index.migrating].filter((id) => cache.get("vm", id)?.status.migration?.source === host.id);
    return [...new Set([...index.vmsOnHost(host.id), ...leaving])].flatMap((id) => machineOf(id, host));
  }

  function machineOf(id: string, host: Host): DrainMachine[] {
    const vm = cache.get("vm", id);
    if (!vm) return [];
    const moving = moves.moving(vm);
    const failed = moves.failure(id, host.id);
    const lastFailure = failed && { why: failed.why, waits: clock.now() - failed.at < settings.drainRetryMs };
    const refusal = moving ? null : moves.refusal(vm, host.id);
    return [{ id, memoryBytes: vm.spec.memory.bytes, moving, refusal, ...(lastFailure ? { lastFailure } : {}) }];
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

/** It takes machines that it did not take before, or more of them. What else changes of a host makes no room. */
function offersMore(host: Host, before: Host | undefined): boolean {
  if (host.spec.schedulable !== "open" || host.status.liveness?.state !== "ready" || host.status.fencing !== undefined) return false;
  if (before === undefined || before.spec !== host.spec || before.status.liveness !== host.status.liveness) return true;
  if (before.status.fencing !== undefined) return true;
  // Also its networks, its CPU's flags, its hypervisor: whatever the agent tells of the host itself, seldom.
  return before.status.agent !== host.status.agent;
}

/** The host on which a machine takes less than before. */
function roomGainedOn(vm: RecordOf<"vm"> | undefined, before: RecordOf<"vm"> | undefined): string | undefined {
  const host = before?.placement?.host;
  if (!before || host === undefined) return undefined;
  const takesLess = vm?.placement?.host !== host || vm.spec.memory.bytes < before.spec.memory.bytes || vm.spec.cpu.count < before.spec.cpu.count;
  return takesLess ? host : undefined;
}

const empties = ({ spec }: Task): boolean => spec.target.kind === "host" && (spec.verb === "drain" || spec.verb === "maintain");
