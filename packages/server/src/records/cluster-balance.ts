/** Balancing of a cluster as it is looked at and asked for. What follows is the balancing controller's; all of it stands in the task. */
import {
  adviceOutdated,
  asAdvised,
  asPlanned,
  balanceAdvice,
  balancingOf,
  clusterBalance,
  keptAdvice,
  notNow,
  type ClusterBalance,
  type MadeAdvice,
} from "@sheaf/controllers";
import { type AdviceCause, type AdvisedMove, SheafError, taskState, type RecordOf } from "@sheaf/model";
import type { BalanceScore } from "@sheaf/planning";
import type { Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask } from "./tasks.ts";

export interface AdviceNow extends Omit<ClusterBalance, "freeable" | "needful"> {
  /** By which it is accepted; absent: nothing is advised. */
  readonly advice?: string;
  /** Since when moves have been called for; absent: they are shown because somebody asked. */
  readonly since?: number;
  /** What it was made for, and what it would come to: the hours to come counted. */
  readonly before: BalanceScore;
  readonly promised: BalanceScore;
  readonly moves: readonly AdvisedMove[];
  /** Names of hosts that come free: goal `consolidate`. */
  readonly frees: readonly string[];
  /** Absent: it is how hosts are used. */
  readonly cause?: AdviceCause | undefined;
  /** Why automatic mode does not carry it out now. */
  readonly notNow?: string;
}

/**
 * The advice on record while it holds, else what would help now.
 * @throws SheafError `state-refused` where the cluster is not to be balanced
 */
export function adviceNow({ context, advice: shelf }: RecordServices, cluster: RecordOf<"cluster">): AdviceNow {
  if (balancingOf(cluster).mode === "off")
    throw new SheafError("state-refused", `Balancing of cluster ${cluster.name} is off.`, {
      next: `\`sheaf cluster balance ${cluster.name} --mode advise\` turns it on.`,
    });
  const why = notNow(cluster, context);
  const closed = why === null ? {} : { notNow: why };
  const kept = keptAdvice(cluster, context);
  if (kept && adviceOutdated(cluster, kept, context) === null) {
    const { freeable: _free, needful: _needful, ...now } = clusterBalance(cluster, context);
    const { id, since, before, promised, moves, frees, cause } = kept;
    return { ...now, before, ...closed, advice: id, since, promised, moves, frees, cause };
  }
  const { moves: planned, ...made } = balanceAdvice(cluster, context);
  const moves = planned.map(asAdvised);
  const { before, promised, frees, cause } = made;
  const id = moves.length === 0 ? {} : { advice: shelf.put(cluster.id, { before, promised, moves, frees, cause }) };
  return { ...made, ...closed, ...id, moves };
}

/** Whether it is on record or was given on request; absent: it is not known here (any more). */
export function findAdvice({ advice: shelf }: RecordServices, { id: clusterId, status }: RecordOf<"cluster">, id: string): MadeAdvice | undefined {
  return status.advice?.id === id ? status.advice : shelf.find(clusterId, id);
}

export function balanceTask({ context }: RecordServices, clusterId: string): RecordOf<"task"> | undefined {
  for (const task of context.cache.all("task")) {
    const { verb, target } = task.spec;
    if (verb === "balance" && target.id === clusterId && ["waiting", "running"].includes(taskState(task.status))) return task;
  }
  return undefined;
}

/**
 * @param advice what was read; absent: what is advised now
 * @throws SheafError `state-refused` where a plan is under way, nothing would help, or that advice is not what it was
 */
export function carryOutBalance(services: RecordServices, request: ChangeRequest, clusterId: string, advice?: string): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const { cache, clock } = services.context;
    const cluster = cache.get("cluster", clusterId);
    if (!cluster) throw new SheafError("not-found", `There is no cluster ${clusterId} any more.`);
    const underWay = balanceTask(services, clusterId);
    if (underWay)
      throw new SheafError("state-refused", `Cluster ${cluster.name} is being balanced already.`, {
        next: `Follow it with \`sheaf task watch ${underWay.id}\`, or end it with \`sheaf task cancel\`.`,
      });
    const { id, before, promised, moves, frees, cause } = advice === undefined ? helpful(services, cluster) : accepted(services, cluster, advice);
    const draft = new Draft();
    draft.unchanged(cluster);
    const work: Work = { services, request, draft, id: cluster.id, name: cluster.name, projectId: "", now: clock.now() };
    const task = addTask(work, {
      verb: "balance",
      target: { kind: "cluster", id: cluster.id, name: cluster.name },
      parameters: { ...(id === undefined ? {} : { advice: id }), moves: moves.map(asPlanned), before, promised, frees, ...(cause ? { cause } : {}) },
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

type Accepted = MadeAdvice & { readonly id?: string | undefined };

function helpful(services: RecordServices, cluster: RecordOf<"cluster">): Accepted {
  const { advice: id, score, before, promised, moves, frees, cause } = adviceNow(services, cluster);
  if (moves.length === 0)
    throw new SheafError(
      "state-refused",
      `No move would help cluster ${cluster.name}: its hottest host is at ${Math.round(score.hottestPercent)} %.`,
      {
        next: `\`sheaf cluster balance ${cluster.name}\` shows its hosts; with \`--goal even\` those below ${balancingOf(cluster).hotPercent} % are evened out as well.`,
      },
    );
  return { id, before, promised, moves, frees, cause };
}

function accepted(services: RecordServices, cluster: RecordOf<"cluster">, id: string): Accepted {
  const found = findAdvice(services, cluster, id);
  const why = found ? adviceOutdated(cluster, found, services.context) : "it is not known any more";
  if (found && why === null) return { ...found, id };
  const now = adviceNow(services, cluster);
  const host = (hostId: string): string => services.context.cache.get("host", hostId)?.name ?? hostId;
  const told = now.moves.map(({ name, from, to }) => `${name}: ${host(from)} → ${host(to)}`).join(", ");
  throw new SheafError("state-refused", `Advice ${id} for cluster ${cluster.name} is not what it was: ${why}.`, {
    next:
      now.advice === undefined
        ? `No move would help now. \`sheaf cluster balance ${cluster.name}\` shows its hosts.`
        : `Advised now: ${told}. \`sheaf cluster advice accept ${cluster.name} --id ${now.advice}\` carries that out.`,
  });
}
