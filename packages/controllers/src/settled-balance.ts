/**
 * What a plan came to some minutes after its end, when what is measured is all of the time after it: put into its task's result, for the balancing
 * controller, who is the sole writer of that.
 */
import { partKey, type RecordOf, type TaskProgress } from "@sheaf/model";
import { clusterBalance, plannedScore } from "./cluster-balance.ts";
import { problemOf, type BalanceSite } from "./cluster-problem.ts";
import { commit } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import { put } from "./packed-commit.ts";

/** Twice the time constant of what is measured. */
const settlesAfterMs = 600_000;
/** Later other things have changed. */
const latestMs = 3_600_000;

/** @returns in how many ms to look again; absent: none waits for it */
export async function measureSettled(context: ControllerContext, site: BalanceSite, cluster: RecordOf<"cluster">): Promise<number | undefined> {
  const now = context.clock.now();
  let next: number | undefined;
  for (const task of [...context.cache.all("task")]) {
    if (task.spec.verb !== "balance" || task.spec.target.id !== cluster.id) continue;
    const { endedAt, result } = task.status.controller ?? {};
    if (endedAt === undefined || result?.["settled"] !== undefined || now - endedAt > latestMs) continue;
    const leftMs = endedAt + settlesAfterMs - now;
    if (leftMs > 0) next = Math.min(next ?? leftMs, leftMs);
    else await measure(context, site, cluster, task);
  }
  return next;
}

async function measure(context: ControllerContext, site: BalanceSite, cluster: RecordOf<"cluster">, task: RecordOf<"task">): Promise<void> {
  const seen = problemOf(cluster, site);
  const { controller } = task.status;
  if (!controller || seen.awaited) return;
  const score = plannedScore(clusterBalance(cluster, site, seen));
  const progress: TaskProgress = { ...controller, result: { ...controller.result, settled: score } };
  // Not there any more: there is nobody to tell.
  await commit(context, {
    compare: [{ key: partKey("task", task.id, "spec"), modRevision: task.specRevision }],
    then: [put(partKey("task", task.id, "status/controller"), progress)],
  });
}
