/** What balancing has done in a cluster, from the tasks that stand for it. */
import { movesOf } from "@sheaf/controllers";
import { taskState } from "@sheaf/model";
import type { BalanceScore, PlannedMove } from "@sheaf/planning";
import type { RecordServices } from "./record-services.ts";

export interface BalancePlan {
  readonly task: string;
  readonly requestedBy: string;
  readonly at: number;
  readonly endedAt?: number;
  readonly state: string;
  readonly before?: BalanceScore;
  readonly promised?: BalanceScore;
  readonly measured?: BalanceScore;
  readonly settled?: BalanceScore;
  readonly moves: readonly PlannedMove[];
}

/** Newest first. */
export function balancePlans({ context: { cache } }: RecordServices, clusterId: string): BalancePlan[] {
  const plans: BalancePlan[] = [];
  for (const task of cache.all("task")) {
    const { spec, status, id, createdAt } = task;
    if (spec.verb !== "balance" || spec.target.id !== clusterId) continue;
    const { endedAt, result = {} } = status.controller ?? {};
    // Written by the balancing controller and this API alone.
    const scores = {
      before: spec.parameters["before"],
      promised: spec.parameters["promised"],
      measured: result["measured"],
      settled: result["settled"],
    };
    const known = Object.fromEntries(Object.entries(scores).filter(([, score]) => score !== undefined)) as Record<string, BalanceScore>;
    plans.push({
      ...{ task: id, requestedBy: spec.requestedBy, at: createdAt, state: taskState(status), moves: movesOf(task) },
      ...(endedAt === undefined ? {} : { endedAt }),
      ...known,
    });
  }
  return plans.toSorted((one, other) => other.at - one.at);
}
