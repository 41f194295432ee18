/**
 * Balances clusters: carries out plans that stand in tasks with verb balance of a cluster, and, when hosts have been hot or uneven for long enough,
 * makes such a task in automatic mode, or else keeps advice on record. Sole writer of `status/controller` of these tasks (how far their moves are
 * stands in `result`), and of the clusters' `status/advice`. Asks planning/balancing what to move, in which order, and when.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, taskProgress, type RecordOf, type TaskProgress, type TaskSpec } from "@sheaf/model";
import {
  balanceDue,
  closedWindows,
  hasEnded,
  nextBalanceSteps,
  type BalanceScore,
  type BalanceSteps,
  type PlannedMove,
  type Unease,
  type UseBook,
} from "@sheaf/planning";
import type { PlacementRequest, SnapshotIndex } from "@sheaf/scheduling";
import { AdviceKeeper } from "./advice-keeper.ts";
import { budgetOf, movesOf, notNow } from "./cluster-advice.ts";
import { balanceAdvice, clusterBalance, plannedScore } from "./cluster-balance.ts";
import { balancingOf, problemOf, type ClusterProblem } from "./cluster-problem.ts";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { newTask, type MachineMoves } from "./machine-moves.ts";
import { put } from "./packed-commit.ts";
import { hostName } from "./records.ts";
import { measureSettled } from "./settled-balance.ts";
import type { SiteIndex } from "./site-index.ts";

type Cluster = RecordOf<"cluster">;
type Task = RecordOf<"task">;

/** How often a cluster whose balancing is on is looked at, and one whose plan is under way though nothing has changed. */
const lookMs = 30_000;

export interface BalancingParts {
  readonly index: SiteIndex;
  readonly snapshot: SnapshotIndex;
  readonly moves: MachineMoves;
  readonly book: UseBook;
}

export function balancingController(context: ControllerContext, { index, snapshot, moves, book }: BalancingParts): Controller {
  const { cache, clock, random, agents, logger } = context;
  const site = { cache, clock, agents, snapshot, book };
  /** By cluster, while this server leads: lost with it, then it merely waits for longer. */
  const unease = new Map<string, Unease>();
  const advice = new AdviceKeeper(context, site);
  return {
    name: "balancing",
    reads: ["cluster", "task"],
    writes: [
      "cluster/status/advice",
      "task/status/controller (balance of a cluster)",
      "task/spec (balance of a cluster, in automatic mode; its migrations)",
    ],
    initialKeys: () => [...cache.all("cluster")].map(({ id }) => id),
    *keysFor({ kind, id, record, previous }) {
      switch (kind) {
        case "cluster":
          if (!record) forget(id);
          yield id;
          return;
        case "task": {
          const { spec } = (record ?? previous) as Task; // the kind says so
          if (spec.verb === "balance" && spec.target.kind === "cluster") yield spec.target.id;
          if (spec.verb !== "migrate") return;
          const parent = cache.get("task", spec.parent ?? "");
          if (parent?.spec.verb === "balance") yield parent.spec.target.id;
          return;
        }
        default:
      }
    },
    async reconcile(clusterId) {
      const cluster = cache.get("cluster", clusterId);
      const task = openTask(clusterId);
      if (!cluster) return undefined;
      if (task) {
        await carryOut(cluster, task);
        return lookMs;
      }
      const settlesInMs = await measureSettled(context, site, cluster);
      if (balancingOf(cluster).mode === "off" || cluster.deletedAt !== undefined) {
        forget(clusterId);
        await advice.withdraw(cluster);
        return settlesInMs;
      }
      await look(cluster);
      return lookMs;
    },
  };

  function forget(clusterId: string): void {
    unease.delete(clusterId);
    advice.forget(clusterId);
  }

  function openTask(clusterId: string): Task | undefined {
    for (const id of index.openTasks(clusterId)) {
      const task = cache.get("task", id);
      if (task?.spec.verb === "balance" && !hasEnded(task)) return task;
    }
    return undefined;
  }

  async function look(cluster: Cluster): Promise<void> {
    const settings = balancingOf(cluster);
    const seen = problemOf(cluster, site);
    const { score, expected, freeable, needful } = clusterBalance(cluster, site, seen);
    const {
      unease: next,
      due,
      byUse,
    } = balanceDue({ ...score, freeable, needful, ...(expected ? { expected } : {}) }, settings, unease.get(cluster.id) ?? {}, clock.monotonic());
    unease.set(cluster.id, next);
    if (settings.mode === "automatic" && notNow(cluster, site) === null) {
      if (due) await begin(cluster, seen, !byUse);
      else if (next.since === undefined) await advice.withdraw(cluster);
      return;
    }
    const found = await advice.look(cluster, { seen, due, needfulOnly: !byUse, ...(next.since === undefined ? {} : { since: next.since }) });
    if (found === "nothing") restUnlessHot(cluster, score);
  }

  /** That no host can be emptied is dear to find out, and stays so for a while. */
  function restUnlessHot(cluster: Cluster, { hottestPercent }: BalanceScore): void {
    if (hottestPercent <= balancingOf(cluster).hotPercent) unease.set(cluster.id, { plannedAt: clock.monotonic() });
  }

  /** In automatic mode: by itself. */
  async function begin(cluster: Cluster, seen: ClusterProblem, needfulOnly: boolean): Promise<void> {
    await advice.withdraw(cluster);
    const { moves, score, before, promised, frees, cause } = balanceAdvice(cluster, site, { seen, most: budgetOf(cluster, site).left, needfulOnly });
    if (moves.length === 0) return restUnlessHot(cluster, score);
    const id = uuidv7(clock.now(), random);
    const spec: TaskSpec = {
      verb: "balance",
      target: { kind: "cluster", id: cluster.id, name: cluster.name },
      parameters: { moves, before, promised, frees, ...(cause ? { cause } : {}) },
      requestedBy: "system",
    };
    const result = await commit(context, {
      compare: [{ key: partKey("cluster", cluster.id, "spec"), modRevision: cluster.specRevision }],
      then: [put(partKey("task", id, "spec"), newTask(id, spec, clock.now()))],
    });
    if (!result.succeeded) throw new Overtaken(`cluster ${cluster.name} changed meanwhile`);
    logger.info({ cluster: cluster.name, moves: moves.length, hottestPercent: before.hottestPercent }, "a cluster is balanced");
  }

  async function carryOut(cluster: Cluster, task: Task): Promise<void> {
    const reserved: PlacementRequest[] = [];
    const budget = budgetOf(cluster, site);
    try {
      const steps = nextBalanceSteps({
        moves: movesOf(task),
        look: (vmId) => {
          const vm = cache.get("vm", vmId);
          const at = vm?.placement?.host;
          if (!vm || at === undefined || vm.deletedAt !== undefined) return { moving: false };
          const failed = moves.failure(vmId, at);
          const since = taskProgress(task.status)?.startedAt ?? clock.now();
          return { at, moving: moves.moving(vm), ...(failed && failed.at >= since ? { failure: failed.why } : {}) };
        },
        places: (id) => cache.get("host", id)?.spec.maximumParallelMigrations ?? 0,
        refusal: (move) => refusalOf(move, reserved),
        budget: { refusal: (move) => budget.refusal(move, (id) => hostName(id, cache)), spend: (move) => budget.spend(move) },
        over: overWhy(cluster, task),
        now: clock.now(),
      });
      // First the deed, then the word: a server that dies in between finds the machine on its way.
      for (const at of steps.start) {
        const move = steps.moves[at];
        if (move) await moves.start(move.vm, move.to, task);
      }
      await report(cluster, task, steps);
    } finally {
      // Where the move was taken up meanwhile, its own reservation stays.
      for (const request of reserved) moves.release(request);
    }
  }

  /** Why what has not begun yet is not begun any more. */
  function overWhy(cluster: Cluster, { spec }: Task): string | null {
    if (spec.cancelRequestedAt !== undefined) return "it was cancelled before";
    // A person's word holds at any time.
    return spec.requestedBy === "system" ? closedWindows(balancingOf(cluster).windows, clock.now()) : null;
  }

  function refusalOf(move: PlannedMove, reserved: PlacementRequest[]): string | null {
    const [vm, source] = [cache.get("vm", move.vm), cache.get("host", move.from)];
    if (!vm || !source) return "it is gone";
    const why = moves.refusal(vm, source.id);
    if (why !== null) return why;
    const chosen = moves.choose(vm, source, reserved, move.to);
    return "why" in chosen ? chosen.why : null;
  }

  async function report(cluster: Cluster, task: Task, steps: BalanceSteps): Promise<void> {
    const before = task.status.controller;
    const moved = steps.moves.filter(({ state }) => state === "moved").length;
    const through = steps.moves.filter(({ state }) => state === "moved" || state === "left").length;
    const seen = steps.ended ? problemOf(cluster, site) : undefined;
    // A server that has just begun to lead knows the use of none yet.
    const measured = seen && !seen.awaited ? plannedScore(clusterBalance(cluster, site, seen)) : undefined;
    const result = { moves: steps.moves, ...(measured ? { measured } : {}) };
    if (!steps.ended && JSON.stringify(before?.result) === JSON.stringify(result)) return;
    const state = steps.ended ? endOf(task, moved) : "running";
    const message = `${moved} of ${steps.moves.length} machines moved${measured ? `: ${toldScores(task, measured)}` : ""}`;
    const progress: TaskProgress = {
      state,
      message,
      percent: Math.floor((100 * through) / Math.max(1, steps.moves.length)),
      startedAt: before?.startedAt ?? clock.now(),
      steps: steps.moves.map(({ name, state: at, reason, why }) => ({ name: `${name}: ${why ?? reason}`, state: stepStates[at] })),
      result,
      ...(steps.ended ? { endedAt: clock.now() } : {}),
      ...(state === "failed"
        ? {
            problem: {
              code: "state-refused",
              detail: "None of its machines could move.",
              next: `Ask anew what would help: \`sheaf cluster balance ${cluster.name}\`.`,
            },
          }
        : {}),
    };
    const written = await commit(context, {
      compare: [{ key: partKey("task", task.id, "spec"), modRevision: task.specRevision }],
      then: [put(partKey("task", task.id, "status/controller"), progress)],
    });
    if (!written.succeeded) throw new Overtaken(`task ${task.id} changed meanwhile`);
    if (steps.ended) unease.set(cluster.id, { plannedAt: clock.monotonic() });
  }
}

function endOf(task: Task, moved: number): TaskProgress["state"] {
  if (task.spec.cancelRequestedAt !== undefined) return "cancelled";
  return moved > 0 || movesOf(task).length === 0 ? "succeeded" : "failed";
}

const stepStates = { waiting: "waiting", moving: "running", moved: "done", left: "failed" } as const;

/** What it came to, and what was promised. */
function toldScores({ spec: { parameters } }: Task, now: BalanceScore): string {
  const [before, promised] = [parameters["before"], parameters["promised"]] as (BalanceScore | undefined)[]; // written here and by the API alone
  const told = (figure: (score: BalanceScore) => number, unit: string): string => {
    const [was, is, hoped] = [before, now, promised].map((score) => (score ? figure(score).toFixed(0) : "?"));
    return `${was} → ${is} ${unit} (${hoped} promised)`;
  };
  return `hottest host ${told(({ hottestPercent }) => hottestPercent, "%")}, spread ${told(({ spreadPoints }) => spreadPoints, "points")}`;
}
