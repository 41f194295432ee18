/** Balancing of a cluster as it is looked at and asked for. What follows is the balancing controller's; all of it stands in the task. */
import { balanceAdvice, balancingOf, type BalanceAdvice } from "@sheaf/controllers";
import { SheafError, taskState, type RecordOf } from "@sheaf/model";
import type { Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask } from "./tasks.ts";

/** @throws SheafError `state-refused` where the cluster is not to be balanced */
export function adviseBalance({ context }: RecordServices, cluster: RecordOf<"cluster">): BalanceAdvice {
  if (balancingOf(cluster).mode === "off")
    throw new SheafError("state-refused", `Balancing of cluster ${cluster.name} is off.`, {
      next: `\`sheaf cluster balance ${cluster.name} --mode advise\` turns it on.`,
    });
  return balanceAdvice(cluster, context);
}

export function balanceTask({ context }: RecordServices, clusterId: string): RecordOf<"task"> | undefined {
  for (const task of context.cache.all("task")) {
    const { verb, target } = task.spec;
    if (verb === "balance" && target.id === clusterId && ["waiting", "running"].includes(taskState(task.status))) return task;
  }
  return undefined;
}

/** @throws SheafError `state-refused` where a plan is under way, or nothing would help */
export function carryOutBalance(services: RecordServices, request: ChangeRequest, clusterId: string): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const { cache, clock } = services.context;
    const cluster = cache.get("cluster", clusterId);
    if (!cluster) throw new SheafError("not-found", `There is no cluster ${clusterId} any more.`);
    const underWay = balanceTask(services, clusterId);
    if (underWay)
      throw new SheafError("state-refused", `Cluster ${cluster.name} is being balanced already.`, {
        next: `Follow it with \`sheaf task watch ${underWay.id}\`, or end it with \`sheaf task cancel\`.`,
      });
    const { moves, score, promised, frees } = adviseBalance(services, cluster);
    if (moves.length === 0)
      throw new SheafError(
        "state-refused",
        `No move would help cluster ${cluster.name}: its hottest host is at ${Math.round(score.hottestPercent)} %.`,
        {
          next: `\`sheaf cluster balance ${cluster.name}\` shows its hosts; with \`--goal even\` those below ${balancingOf(cluster).hotPercent} % are evened out as well.`,
        },
      );
    const draft = new Draft();
    draft.unchanged(cluster);
    const work: Work = { services, request, draft, id: cluster.id, name: cluster.name, projectId: "", now: clock.now() };
    const task = addTask(work, {
      verb: "balance",
      target: { kind: "cluster", id: cluster.id, name: cluster.name },
      parameters: { moves, before: score, promised, frees },
    });
    return {
      draft,
      target: `cluster/${cluster.id}`,
      after: JSON.stringify({ balance: moves.map(({ vm, from, to }) => ({ vm, from, to })) }),
      receipt: { kind: "cluster", id: cluster.id, task },
      answer: (): Written => ({ id: cluster.id, specRevision: cluster.specRevision, record: services.presenter.text(cluster), task }),
    };
  });
}
