/**
 * Does the tasks with the verb adopt: asks the host's agent what the domain is, writes the machine and its volumes in one transaction with their
 * placement on that host (planning/adopt), and waits until the agent has taken the domain over. Sole writer of these tasks' `status/controller`,
 * and of the first `spec` and `placement` of what is adopted. Nothing is changed anywhere before that transaction, and after it nothing is undone:
 * a crash at any point is survived by looking again. Whether it was made is said by the task itself (`result.vm`), written with it.
 */
import { uuidv7 } from "@sheaf/base";
import {
  addUsage,
  type AdoptableDomain,
  AdoptionParameters,
  hasLimits,
  noUsage,
  partKey,
  problems,
  quotaRefusal,
  quotaUsageKey,
  quotaUsageOf,
  type QuotaUsage,
  type RecordOf,
  SheafError,
  type TaskProgress,
} from "@sheaf/model";
import { type Adoption, hasEnded, networksByBridge, planAdoption } from "@sheaf/planning";
import type { Compare, Operation } from "@sheaf/store";
import { commit, operationsPerTransaction, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";

type Task = RecordOf<"task">;
type Vm = RecordOf<"vm">;

interface Case {
  readonly task: Task;
  readonly wanted: AdoptionParameters;
  readonly host: RecordOf<"host">;
  readonly project: RecordOf<"project">;
}

export function adoptionController(context: ControllerContext): Controller {
  const { cache, clock, random, store, agents, tasks, settings, logger } = context;
  const open = () => [...cache.all("task")].filter(isOpen);
  return {
    name: "adoption",
    reads: ["task", "vm"],
    writes: ["vm/spec, vm/placement, volume/spec, volume/placement (adopted, first)", "task/status/controller (adopt)"],
    initialKeys: () => open().map(({ id }) => id),
    *keysFor({ kind, id, record, previous }) {
      if (kind === "task" && record && isOpen(record as Task)) yield id; // the kind says so
      const adoption = kind === "vm" ? ((record ?? previous) as Vm | undefined)?.placement?.adoption : undefined; // the kind says so
      if (adoption !== undefined) yield adoption;
    },
    begin(enqueue) {
      return agents.subscribe(({ hostId, connected }) => {
        if (connected) for (const { id, spec } of open()) if (spec.target.id === hostId) enqueue(id);
      });
    },
    async reconcile(taskId, signal) {
      const task = cache.get("task", taskId);
      if (!task || !isOpen(task)) return undefined;
      if (task.status.controller?.result?.["vm"] !== undefined) return handOver(task);
      try {
        return await adopt(task, signal);
      } catch (error) {
        if (!(error instanceof SheafError)) throw error;
        return await refused(task, error);
      }
    },
  };

  async function adopt(task: Task, signal: AbortSignal): Promise<undefined> {
    const { uuid } = AdoptionParameters.parse(task.spec.parameters);
    if (task.spec.cancelRequestedAt !== undefined) throw new SheafError("cancelled", "it was cancelled, and nothing was changed");
    if (cache.get("vm", uuid))
      throw new SheafError("state-refused", `the domain ${uuid} is a machine of Sheaf's already`, { next: "Look at it: sheaf vm list." });
    const it = caseOf(task);
    const networks = networksByBridge(cache.all("network"), it.host.id, it.project.id);
    const domain = await agents.call(
      it.host.id,
      "vm.adopt",
      { uuid, networks: Object.fromEntries([...networks].map(([bridge, { id }]) => [bridge, id])), acceptLosses: it.wanted.acceptLosses },
      { timeoutMs: settings.migrationCallMs, signal },
    );
    const plan = planned(it, domain, [...networks.values()]);
    await write(it, plan, domain);
    logger.info({ vm: uuid, host: it.host.name, task: task.id }, "a domain was adopted");
    return undefined;
  }

  function caseOf(task: Task): Case {
    const wanted = AdoptionParameters.parse(task.spec.parameters);
    const host = cache.get("host", task.spec.target.id);
    if (!host || host.deletedAt !== undefined) throw new SheafError("not-found", `host ${task.spec.target.name} is gone`);
    const project = cache.get("project", wanted.project);
    if (!project || project.deletedAt !== undefined) throw new SheafError("not-found", "its project is gone");
    return { task, wanted, host, project };
  }

  function planned({ task, wanted, host, project }: Case, domain: AdoptableDomain, networks: RecordOf<"network">[]): Adoption {
    return planAdoption({
      now: clock.now(),
      incarnation: store.incarnation,
      task: { id: task.id, requestedBy: task.spec.requestedBy },
      uuid: wanted.uuid,
      name: wanted.name,
      number: wanted.number,
      host,
      project,
      domain,
      networks,
      pools: [...cache.all("pool")],
      volumeNamed: (name) => cache.byName("volume", project.id, name) !== undefined,
      volumeIds: domain.disks.map(() => uuidv7(clock.now(), random)),
    });
  }

  async function write({ task, wanted, host, project }: Case, plan: Adoption, domain: AdoptableDomain): Promise<void> {
    const quota = await quotaUse(project, plan.usage);
    const progress: TaskProgress = {
      state: "running",
      message: "waiting for its host to take it over",
      percent: 50,
      startedAt: task.status.controller?.startedAt ?? clock.now(),
      result: { vm: wanted.uuid, ...(domain.notes.length > 0 ? { notes: domain.notes } : {}) },
    };
    const compare: Compare[] = [
      ...[task, host, project, ...plan.uses].map((record) => ({ key: partKey(record.kind, record.id, "spec"), modRevision: record.specRevision })),
      { key: partKey("vm", wanted.uuid, "spec"), modRevision: 0 },
      { key: partKey("vm", wanted.uuid, "placement"), modRevision: 0 },
      ...plan.claims.map(({ key }) => ({ key, createRevision: 0 })),
      ...quota.compare,
    ];
    const then: Operation[] = [
      ...plan.parts.map(({ key, value }) => put(key, value)),
      ...plan.claims.map(({ key, id }) => ({ put: key, value: id })),
      put(partKey("task", task.id, "status/controller"), progress),
      ...quota.then,
    ];
    if (Math.max(compare.length, then.length) > operationsPerTransaction)
      throw new SheafError("state-refused", "it has too many disks and network interfaces to be taken over at once", {
        next: "Detach some, then adopt it.",
      });
    const result = await commit(context, { compare, then });
    if (result.succeeded) return tasks.append(task.id, progress.message);
    const lost = plan.claims.find(({ key }) => (result.current.get(key) ?? null) !== null);
    // What the cache did not show yet is decided on again, with it.
    if (!lost || cache.get("vm", wanted.uuid)) throw new Overtaken("what the adoption was decided on has changed");
    throw lost.refusal;
  }

  /** As for every machine: checked and counted in the transaction that uses it. */
  async function quotaUse(project: RecordOf<"project">, more: QuotaUsage): Promise<{ compare: Compare[]; then: Operation[] }> {
    if (!hasLimits(project)) return { compare: [], then: [] };
    const key = quotaUsageKey(project.id);
    const stored = await store.get(key);
    await cache.waitFor(Math.max(stored?.modRevision ?? 0, project.specRevision));
    let used = noUsage;
    for (const kind of ["vm", "volume", "image"] as const)
      for (const record of cache.all(kind)) if (record.project === project.id) used = addUsage(used, quotaUsageOf(kind, record.spec));
    const after = addUsage(used, more);
    const refusal = quotaRefusal(project, used, after);
    if (refusal) throw refusal;
    return { compare: [{ key, modRevision: stored?.modRevision ?? 0 }], then: [put(key, after)] };
  }

  /** The record is there: from now on the agent does what it says, and the task only waits to see it done. */
  async function handOver(task: Task): Promise<undefined> {
    const { uuid, name } = AdoptionParameters.parse(task.spec.parameters);
    const vm = cache.get("vm", uuid);
    if (!vm || vm.deletedAt !== undefined) {
      await end(task, { state: "cancelled", message: `machine ${name} ${vm ? "is being" : "was"} deleted meanwhile` });
      return undefined;
    }
    const seen = vm.status.agent;
    if (!seen || seen.epoch < (vm.placement?.epoch ?? 0) || seen.state === "preparing") {
      const message =
        seen?.problem ??
        (agents.connected(task.spec.target.id) ? "waiting for its host to take it over" : "waiting for its host, which is not connected");
      await progress(task, message);
      return undefined;
    }
    const notes = (task.status.controller?.result?.["notes"] as readonly string[] | undefined) ?? []; // written above
    const later = seen.pendingChanges.length > 0 ? [`at the next start: ${seen.pendingChanges.join("; ")}`] : [];
    await end(task, { state: "succeeded", percent: 100, message: [`adopted as ${vm.name}, ${seen.state}`, ...notes, ...later].join("; ") });
    return undefined;
  }

  async function progress(task: Task, message: string): Promise<void> {
    const before = task.status.controller;
    if (before && before.message !== message) await tell(task, { ...before, message });
  }

  /** Nothing was changed. What passes by itself is tried again for a while. */
  async function refused(task: Task, error: SheafError): Promise<number | undefined> {
    const passing = error.code === "host-unreachable" || error.code === "timed-out";
    const ageMs = clock.now() - task.createdAt;
    if (passing && ageMs < settings.adoptionPatienceMs) return Math.min(settings.adoptionRetryMs, settings.adoptionPatienceMs - ageMs);
    const { next, cause } = error.extra;
    const detail = error.message;
    await end(task, {
      state: error.code === "cancelled" ? "cancelled" : "failed",
      message: error.code === "cancelled" ? detail : `not adopted, nothing was changed: ${detail}`,
      problem: { code: error.code, detail, next: next ?? problems[error.code].meaning, ...(cause === undefined ? {} : { cause }) },
    });
    return undefined;
  }

  async function end(task: Task, ended: Pick<TaskProgress, "state" | "message" | "percent" | "problem">): Promise<void> {
    tasks.append(task.id, ended.message);
    const { startedAt = clock.now(), result } = task.status.controller ?? {};
    await tell(task, { ...ended, startedAt, endedAt: clock.now(), ...(result === undefined ? {} : { result }) });
  }

  async function tell(task: Task, value: TaskProgress): Promise<void> {
    const result = await commit(context, {
      compare: [{ key: partKey("task", task.id, "spec"), modRevision: task.specRevision }],
      then: [put(partKey("task", task.id, "status/controller"), value)],
    });
    if (!result.succeeded) throw new Overtaken("the task changed meanwhile");
  }
}

const isOpen = (task: Task): boolean => task.spec.verb === "adopt" && !hasEnded(task);
