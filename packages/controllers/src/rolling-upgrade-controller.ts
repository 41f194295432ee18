/**
 * Leads the upgrade of agents through a cluster, or of one host. Sole writer of `status/controller` of tasks with verb upgrade (how far it is
 * stands in their `result`); tells agents to take the new version, and sees by their reports what came of it. Asks planning/rolling-upgrade
 * what to do next.
 */
import { AgentRelease, judgeUpgrade, partKey, SheafError, taskProgress, type RecordOf, type TaskProgress } from "@sheaf/model";
import { hasEnded, planUpgrade, unreadyPatienceMs, upgradePhases, type UpgradeHost, type UpgradePlan, type UpgradeSight } from "@sheaf/planning";
import type { Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";

type Host = RecordOf<"host">;
type Task = RecordOf<"task">;

/** An order that an agent does not show yet is given again so often. */
const orderAgainMs = 10_000;
const orderTimeoutMs = 5000;

export function rollingUpgradeController(context: ControllerContext, index: SiteIndex): Controller {
  const { cache, clock, agents, logger } = context;
  /** By task and host. Lost with the leader: the next one orders again, which changes nothing. */
  const orders = new Map<string, { readonly at: number; readonly refused?: NonNullable<TaskProgress["problem"]> }>();
  return {
    name: "rolling-upgrade",
    reads: ["task", "host", "vm"],
    writes: ["task/status/controller (upgrade)"],
    initialKeys: () => [...cache.all("task")].filter(isOpen).map((task) => task.id),
    *keysFor({ kind, id, record }) {
      if (kind === "task" && record && isOpen(record as Task)) yield id; // the kind says so
      if (kind === "host" && record) yield* concerning(record as Host); // the kind says so
    },
    begin: (enqueue) =>
      agents.subscribe(({ hostId }) => {
        const host = cache.get("host", hostId);
        if (host) for (const id of concerning(host)) enqueue(id);
      }),
    async reconcile(taskId) {
      const task = cache.get("task", taskId);
      if (!task || !isOpen(task)) {
        for (const key of orders.keys()) if (key.startsWith(taskId)) orders.delete(key);
        return undefined;
      }
      const { parameters, cancelRequestedAt } = task.spec;
      const release = AgentRelease.safeParse(parameters["release"]);
      if (!release.success) return void (await write(task, broken(task)));
      const plan = planUpgrade({
        hosts: hostsOf(task),
        look: (id) => sightOf(cache.get("host", id), task, release.data),
        version: release.data.version,
        parallel: number(parameters["parallel"], 1),
        settleMs: number(parameters["settleMs"], context.settings.upgradeSettleMs),
        cancelled: cancelRequestedAt !== undefined,
        now: clock.now(),
      });
      // Known to be under way before anybody is told: after a crash it is found, and told again.
      await write(task, plan);
      const refused = await Promise.all(plan.order.map((id) => tell(id, task, release.data)));
      if (plan.state !== "running") return undefined;
      return refused.includes(true) ? 0 : plan.lookAgainMs;
    },
  };

  function* concerning(host: Host): Generator<string> {
    for (const target of [host.id, host.spec.cluster])
      for (const taskId of index.openTasks(target)) {
        const task = cache.get("task", taskId);
        if (task && isOpen(task)) yield taskId;
      }
  }

  function sightOf(host: Host | undefined, task: Task, release: AgentRelease): UpgradeSight | undefined {
    if (!host || host.deletedAt !== undefined) return undefined;
    const { agent, fencing, maintenance } = host.status;
    const verdict = judgeUpgrade(agent, release);
    const order = agent?.installation?.upgrade?.order === task.id ? agent.installation.upgrade : undefined;
    const leaveOut =
      fencing?.state === "fenced"
        ? "it is known to be off"
        : fencing !== undefined
          ? "it is being fenced"
          : host.spec.maintenance || maintenance !== undefined
            ? "it is in maintenance"
            : verdict.does === "refuse" && agent
              ? verdict.why
              : undefined;
    return {
      version: agent?.agentVersion ?? "unknown",
      ready: isReady(host),
      current: verdict.does === "nothing",
      trial: agent?.installation?.trial === true,
      leaveOut,
      order,
      refused: orders.get(`${task.id} ${host.id}`)?.refused,
      ended: order ? endedSince(host.id, order.begunAt) : [],
      against: beingLost(host),
    };
  }

  function isReady(host: Host): boolean {
    return host.status.liveness?.state === "ready" && agents.connected(host.id);
  }

  /** Machines of the host that went down by themselves. @param since by the host's clock, as what its agent tells of machines */
  function endedSince(hostId: string, since: number): string[] {
    const found: string[] = [];
    for (const id of index.vmsOnHost(hostId)) {
      const vm = cache.get("vm", id);
      const seen = vm?.status.agent;
      if (!vm || !seen || seen.host !== hostId) continue;
      const { lastEnd } = seen;
      const byItself = (by: string | undefined): boolean => by === "crash" || by === "host";
      if ((lastEnd !== undefined && lastEnd.at >= since && byItself(lastEnd.by)) || (byItself(seen.stoppedBy) && seen.since >= since))
        found.push(vm.name);
    }
    return found;
  }

  /** Other hosts may need this one's agent for their machines: not now. */
  function beingLost(host: Host): string | undefined {
    const lost = [...cache.all("host")].filter((other) => {
      if (other.id === host.id || other.spec.cluster !== host.spec.cluster || other.deletedAt !== undefined) return false;
      const { liveness, fencing } = other.status;
      return liveness?.state === "unreachable" && fencing?.state !== "fenced" && clock.now() - liveness.since < unreadyPatienceMs;
    });
    if (lost.length === 0) return undefined;
    return `${lost.map(({ name }) => name).join(", ")} ${lost.length === 1 ? "has" : "have"} just become unreachable`;
  }

  /** @returns whether the agent refused */
  async function tell(hostId: string, task: Task, release: AgentRelease): Promise<boolean> {
    const key = `${task.id} ${hostId}`;
    const last = orders.get(key);
    if (last && (last.refused || clock.monotonic() - last.at < orderAgainMs)) return false;
    const verdict = judgeUpgrade(cache.get("host", hostId)?.status.agent, release);
    if (verdict.does !== "upgrade") return false;
    orders.set(key, { at: clock.monotonic() });
    try {
      await agents.call(
        hostId,
        "agent.upgrade",
        { order: task.id, version: release.version, sha256: verdict.archive.sha256, sizeBytes: verdict.archive.sizeBytes },
        { timeoutMs: orderTimeoutMs },
      );
      logger.info({ host: hostId, version: release.version }, "an agent is told to take another version");
      return false;
    } catch (error) {
      if (!(error instanceof SheafError) || error.code === "host-unreachable" || error.code === "timed-out" || error.code === "throttled")
        return false;
      const { next, cause } = error.extra;
      const refused = { code: error.code, detail: error.message, ...(next === undefined ? {} : { next }), ...(cause === undefined ? {} : { cause }) };
      orders.set(key, { at: clock.monotonic(), refused });
      return true;
    }
  }

  function hostsOf(task: Task): readonly UpgradeHost[] {
    const kept = taskProgress(task.status)?.result?.["hosts"];
    if (Array.isArray(kept) && kept.every(isUpgradeHost)) return kept;
    const wanted = Array.isArray(task.spec.parameters["hosts"]) ? (task.spec.parameters["hosts"] as unknown[]) : [];
    return wanted.map((id) => ({ id: String(id), name: cache.get("host", String(id))?.name ?? String(id), phase: "waiting", since: 0 }));
  }

  async function write(task: Task, plan: UpgradePlan): Promise<void> {
    const before = task.status.controller;
    const through = plan.hosts.filter(({ phase }) => phase === "done" || phase === "skipped" || phase === "gone").length;
    const problem = plan.problem && { ...plan.problem, next: `${plan.problem.next ?? "Look at the host."} ${goOn(task)}` };
    const progress: TaskProgress = {
      state: plan.state,
      message: plan.message,
      percent: Math.floor((100 * through) / Math.max(1, plan.hosts.length)),
      startedAt: before?.startedAt ?? clock.now(),
      steps: plan.hosts.map((host) => ({
        name: host.phase === "skipped" ? `${host.name} (left out: ${host.why ?? ""})` : host.name,
        state: host.id === plan.failedHost ? "failed" : stepState(host.phase),
        ...(host.since === 0 ? {} : { at: host.since }),
      })),
      result: { hosts: plan.hosts },
      ...(plan.state === "running" ? {} : { endedAt: clock.now() }),
      ...(problem ? { problem } : {}),
    };
    // The mere passing of time is not written.
    if (plan.state === "running" && before?.message === progress.message && same(hostsOf(task), plan.hosts)) return;
    const then: Operation[] = [put(partKey("task", task.id, "status/controller"), progress)];
    const compare = [{ key: partKey("task", task.id, "spec"), modRevision: task.specRevision }];
    if (!(await commit(context, { compare, then })).succeeded) throw new Overtaken(`task ${task.id} changed meanwhile`);
    if (plan.state !== "running")
      logger.info({ target: task.spec.target.name, state: plan.state, message: plan.message }, "an upgrade of agents has ended");
  }
}

const goOn = (task: Task): string =>
  `Nothing else was begun. Mend it, then go on: \`sheaf ${task.spec.target.kind} upgrade ${task.spec.target.name}\`; what is through is left alone.`;

const broken = (task: Task): UpgradePlan => ({
  hosts: [],
  order: [],
  state: "failed",
  message: "the task does not say which version",
  problem: { code: "internal", detail: `task ${task.id} does not say which version` },
});

function stepState(phase: UpgradeHost["phase"]): "waiting" | "running" | "done" {
  if (phase === "ordered" || phase === "settling") return "running";
  return phase === "waiting" ? "waiting" : "done";
}

const same = (before: readonly UpgradeHost[], after: readonly UpgradeHost[]): boolean => JSON.stringify(before) === JSON.stringify(after);

const isOpen = (task: Task): boolean => task.spec.verb === "upgrade" && !hasEnded(task);
const number = (value: unknown, otherwise: number): number => (typeof value === "number" && Number.isFinite(value) ? value : otherwise);

function isUpgradeHost(value: unknown): value is UpgradeHost {
  const { id, phase } = (value ?? {}) as Partial<UpgradeHost>; // looked at field by field
  return typeof id === "string" && (upgradePhases as readonly unknown[]).includes(phase);
}
