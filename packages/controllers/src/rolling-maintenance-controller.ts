/**
 * Leads maintenance through a cluster, a host at a time. Sole writer of `status/controller` of tasks with verb maintain of a cluster (how far it
 * is stands in their `result`); sets and clears maintenance in hosts' specs, as `sheaf host maintain` and `activate` do, with their tasks.
 * Asks planning/rolling-maintenance what to do next.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, taskProgress, type RecordOf, type TaskProgress, type TaskSpec } from "@sheaf/model";
import { hasEnded, planRolling, rollingPhases, type HostSight, type RollingHost, type RollingPlan } from "@sheaf/planning";
import type { SnapshotIndex } from "@sheaf/scheduling";
import type { Compare, Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { evacuationOf } from "./evacuation.ts";
import { newTask } from "./machine-moves.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";

type Host = RecordOf<"host">;
type Task = RecordOf<"task">;

export function rollingMaintenanceController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { cache, clock, random, agents, store, logger } = context;
  return {
    name: "rolling-maintenance",
    reads: ["task", "host"],
    writes: ["task/status/controller (maintain of a cluster)", "task/spec (maintain and activate of a host)", "host/spec (maintenance)"],
    initialKeys: () => [...cache.all("task")].filter(isOpen).map((task) => task.id),
    *keysFor({ kind, id, record }) {
      if (kind === "task" && record && isOpen(record as Task)) yield id; // the kind says so
      if (kind !== "host" || !record) return;
      for (const taskId of index.openTasks((record as Host).spec.cluster)) {
        const task = cache.get("task", taskId);
        if (task && isOpen(task)) yield taskId;
      }
    },
    async reconcile(taskId) {
      const task = cache.get("task", taskId);
      if (!task || !isOpen(task)) return undefined;
      const hosts = hostsOf(task);
      const { parameters, cancelRequestedAt } = task.spec;
      const done = Array.isArray(parameters["done"]) ? parameters["done"] : [];
      const plan = planRolling({
        hosts,
        look: (id) => sightOf(cache.get("host", id)),
        against: (id) => against(id, task.spec.target.id),
        saidDone: (id) => done.includes(id),
        paused: parameters["paused"] === true,
        cancelled: cancelRequestedAt !== undefined,
        now: clock.now(),
      });
      await write(task, plan);
      return plan.state === "running" ? plan.lookAgainMs : undefined;
    },
  };

  function hostsOf(task: Task): readonly RollingHost[] {
    const kept = taskProgress(task.status)?.result?.["hosts"];
    if (Array.isArray(kept) && kept.every(isRollingHost)) return kept;
    const wanted = Array.isArray(task.spec.parameters["hosts"]) ? (task.spec.parameters["hosts"] as unknown[]) : [];
    return wanted.map((id) => ({ id: String(id), name: cache.get("host", String(id))?.name ?? String(id), phase: "waiting", since: 0 }));
  }

  function sightOf(host: Host | undefined): HostSight | undefined {
    if (!host || host.deletedAt !== undefined) return undefined;
    const { drain, maintenance, agent } = host.status;
    return {
      open: host.spec.schedulable === "open",
      inMaintenance: host.spec.maintenance && host.spec.schedulable === "draining",
      ready: isReady(host),
      bootId: agent?.bootId,
      // What was said before this maintenance began does not count.
      drained: drain?.done === true && maintenance?.state === "emptying",
      remaining: drain?.remaining,
      stuck: drain?.stuck[0]?.why,
      awaitsReturn: maintenance !== undefined,
    };
  }

  function isReady(host: Host): boolean {
    return host.status.liveness?.state === "ready" && agents.connected(host.id);
  }

  function against(hostId: string, clusterId: string): string[] {
    const host = cache.get("host", hostId);
    if (!host) return [];
    if (host.spec.schedulable !== "open" || !isReady(host)) return [`it is ${isReady(host) ? host.spec.schedulable : "not ready"}`];
    const away = [...cache.all("host")].filter(
      (other) =>
        other.id !== hostId &&
        other.spec.cluster === clusterId &&
        other.deletedAt === undefined &&
        (!isReady(other) || other.spec.schedulable === "draining" || other.status.maintenance !== undefined),
    );
    if (away.length > 0) return [`${away.map(({ name }) => name).join(", ")} ${away.length === 1 ? "is" : "are"} not open and ready`];
    const vms = [...index.vmsOnHost(hostId)].flatMap((id) => cache.get("vm", id) ?? []);
    const { warnings, cannotMove } = evacuationOf(host, vms, { cache, agents, snapshot });
    const [first] = cannotMove;
    return first ? [...warnings, `${cache.get("vm", first.vm)?.name ?? first.vm}: ${first.why}`] : [...warnings];
  }

  async function write(task: Task, plan: RollingPlan): Promise<void> {
    const before = task.status.controller;
    const startedAt = before?.startedAt ?? clock.now();
    const through = plan.hosts.filter(({ phase }) => phase === "done" || phase === "gone").length;
    const progress: TaskProgress = {
      state: plan.state,
      message: plan.message,
      percent: Math.floor((100 * through) / Math.max(1, plan.hosts.length)),
      startedAt,
      steps: plan.hosts.map(({ name, phase, since }) => ({
        name,
        state: stepState(phase, plan.state),
        ...(since === 0 ? {} : { at: since }),
      })),
      result: { hosts: plan.hosts },
      ...(plan.state === "running" ? {} : { endedAt: clock.now() }),
      ...(plan.state === "failed" ? { problem: { code: "state-refused", detail: plan.message, next: failedNext(task, plan) } } : {}),
    };
    // The mere passing of time is not written.
    if (!plan.act && plan.state === "running" && before?.message === progress.message && samePhases(hostsOf(task), plan.hosts)) return;
    const compare: Compare[] = [{ key: partKey("task", task.id, "spec"), modRevision: task.specRevision }];
    const then: Operation[] = [put(partKey("task", task.id, "status/controller"), progress)];
    if (plan.act) {
      const change = await hostChange(plan.act.do, plan.act.host, task);
      compare.push(...change.compare);
      then.push(...change.then);
      logger.info({ cluster: task.spec.target.name, host: plan.act.host, act: plan.act.do }, "rolling maintenance goes on");
    }
    if (!(await commit(context, { compare, then })).succeeded) throw new Overtaken(`task ${task.id} changed meanwhile`);
  }

  /** As the API does it. */
  async function hostChange(verb: "maintain" | "activate", hostId: string, parent: Task): Promise<{ compare: Compare[]; then: Operation[] }> {
    const key = partKey("host", hostId, "spec");
    const entry = await store.get(key);
    if (!entry) throw new Overtaken(`host ${hostId} was removed meanwhile`);
    const head = JSON.parse(entry.value) as Host; // a spec part; unknown fields are kept
    const schedulable = verb === "maintain" ? "draining" : "open";
    const spec = { ...head.spec, schedulable, maintenance: verb === "maintain" };
    const id = uuidv7(clock.now(), random);
    const task: TaskSpec = {
      verb,
      target: { kind: "host", id: hostId, name: head.name },
      parameters: {},
      requestedBy: parent.spec.requestedBy,
      parent: parent.id,
    };
    return {
      compare: [{ key, modRevision: entry.modRevision }],
      then: [put(key, { ...head, generation: head.generation + 1, spec }), put(partKey("task", id, "spec"), newTask(id, task, clock.now()))],
    };
  }
}

function failedNext(task: Task, plan: RollingPlan): string {
  const left = plan.hosts.filter(({ phase }) => phase !== "done" && phase !== "gone").map(({ name }) => name);
  return `Mend it, then begin with the hosts that are left: \`sheaf cluster maintain ${task.spec.target.name} --hosts ${left.join(",")}\`.`;
}

function stepState(phase: RollingHost["phase"], state: RollingPlan["state"]): "waiting" | "running" | "done" | "failed" {
  if (phase === "done" || phase === "gone") return "done";
  if (phase === "waiting") return "waiting";
  return state === "failed" ? "failed" : "running";
}

/** `since` moves on while something waits that must not count. */
const samePhases = (before: readonly RollingHost[], after: readonly RollingHost[]): boolean =>
  after.every((host, at) => {
    const old = before[at];
    return old?.phase === host.phase && old.remaining === host.remaining && (old.since === 0) === (host.since === 0);
  });

const isOpen = (task: Task): boolean => task.spec.verb === "maintain" && task.spec.target.kind === "cluster" && !hasEnded(task);

function isRollingHost(value: unknown): value is RollingHost {
  const { id, phase } = (value ?? {}) as Partial<RollingHost>; // looked at field by field
  return typeof id === "string" && (rollingPhases as readonly unknown[]).includes(phase);
}
