/** Moves that a person does not want: their machines stay where they are, for a time or for good. Sole writer of the clusters' `status/dismissals`. */
import { type ClusterDismissals, dismissalsKept, type Dismissal, partKey, SheafError, standingDismissals, type RecordOf } from "@sheaf/model";
import { adviceNow, findAdvice } from "./cluster-balance.ts";
import type { Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices } from "./record-services.ts";

export interface WhatToDismiss {
  /** Advice whose moves are meant; absent: what is advised now. */
  readonly advice?: string | undefined;
  /** Only those of these machines, by id; absent: all. */
  readonly vms?: readonly string[];
  /** Absent: for good. 0: no longer. */
  readonly forMinutes?: number | undefined;
}

/** Those that hold now. */
export const dismissalsOf = ({ context: { cache, clock } }: RecordServices, cluster: RecordOf<"cluster">): readonly Dismissal[] =>
  standingDismissals(cluster.status.dismissals, clock.now(), (id) => cache.get("vm", id)?.placement?.host);

/** @throws SheafError `state-refused` where there is nothing of that kind to dismiss */
export function dismissAdvice(services: RecordServices, request: ChangeRequest, clusterId: string, what: WhatToDismiss): Promise<Written> {
  const { cache, clock, store } = services.context;
  const key = partKey("cluster", clusterId, "status/dismissals");
  return services.writer.write(request.asker, async () => {
    const entry = await store.get(key);
    const cluster = cache.get("cluster", clusterId);
    if (!cluster) throw new SheafError("not-found", `There is no cluster ${clusterId} any more.`);
    const kept = entry === null ? undefined : (JSON.parse(entry.value) as ClusterDismissals); // written here alone
    const standing = standingDismissals(kept, clock.now(), (id) => cache.get("vm", id)?.placement?.host);
    const next = what.forMinutes === 0 ? recalled(cluster, standing, what) : [...standing, ...fresh(services, request, cluster, what)];
    // The newest of a machine counts.
    const moves = [...new Map(next.map((dismissal) => [dismissal.vm, dismissal])).values()];
    if (moves.length > dismissalsKept)
      throw new SheafError("state-refused", `Cluster ${cluster.name} has ${dismissalsKept} dismissed moves already.`, {
        next: "Settle machines that are never to move: `placement.settled`, or the cluster's `balancing.settledLabels`.",
      });
    const draft = new Draft();
    draft.unchanged(cluster);
    draft.require({ compare: { key, modRevision: entry?.modRevision ?? 0 } });
    draft.put(key, { moves });
    return {
      draft,
      target: `cluster/${cluster.id}`,
      before: JSON.stringify({ dismissed: standing }),
      after: JSON.stringify({ dismissed: moves }),
      receipt: { kind: "cluster", id: cluster.id },
      answer: (): Written => ({ id: cluster.id, specRevision: cluster.specRevision, record: services.presenter.text(cluster) }),
    };
  });
}

function fresh(
  services: RecordServices,
  { caller }: ChangeRequest,
  cluster: RecordOf<"cluster">,
  { advice, vms, forMinutes }: WhatToDismiss,
): Dismissal[] {
  const now = services.context.clock.now();
  const advised = (advice === undefined ? adviceNow(services, cluster) : findAdvice(services, cluster, advice))?.moves ?? [];
  const meant = advised.filter(({ vm }) => vms === undefined || vms.includes(vm));
  if (meant.length === 0 || meant.length < (vms?.length ?? 0))
    throw new SheafError("state-refused", `No such move is advised in cluster ${cluster.name}.`, {
      next: `\`sheaf cluster advice list ${cluster.name}\` shows what is.`,
    });
  return meant.map(({ vm, from }) => ({
    ...{ vm, from, by: caller.userName, at: now },
    ...(forMinutes === undefined ? {} : { until: now + forMinutes * 60_000 }),
  }));
}

function recalled(cluster: RecordOf<"cluster">, standing: readonly Dismissal[], { vms }: WhatToDismiss): Dismissal[] {
  const left = standing.filter(({ vm }) => vms !== undefined && !vms.includes(vm));
  if (left.length === standing.length)
    throw new SheafError("state-refused", `No such move of cluster ${cluster.name} is dismissed.`, {
      next: `\`sheaf cluster advice list ${cluster.name}\` shows which are.`,
    });
  return left;
}
