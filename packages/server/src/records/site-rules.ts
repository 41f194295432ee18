/** Rules for clusters, hosts and pools: what stands above projects. */
import { SheafError } from "@sheaf/model";
import type { KindRules } from "./kind-rules.ts";
import { fixed } from "./refusals.ts";
import type { Work } from "./record-services.ts";

export const clusterRules: KindRules<"cluster"> = {
  finalizers: [],
  verbs: {},
  referred: true,
  create: (_work, spec) => ({ spec }),
  change: (_work, _before, spec) => ({ spec }),
};

export const hostRules: KindRules<"host"> = {
  finalizers: [],
  verbs: {},
  referred: true,
  leavesTraces: true,
  create() {
    throw new SheafError("state-refused", "Hosts are not made by documents: they join.", {
      next: "Make an invitation and run its line on the new host.",
    });
  },
  change(work, before, spec) {
    const cluster = work.services.references.above("cluster", spec.cluster, "/spec/cluster");
    if (cluster.id !== before.spec.cluster) {
      if (work.services.index.references("host", before.id) > 0)
        throw new SheafError("state-refused", `Host ${before.name} holds machines or volumes: it cannot move to another cluster.`, {
          next: "Drain it first.",
        });
      work.draft.unchanged(cluster);
    }
    return { spec: { ...spec, cluster: cluster.id } };
  },
};

export const poolRules: KindRules<"pool"> = {
  finalizers: [],
  verbs: {},
  referred: true,
  create: (work, spec) => ({ spec: { ...spec, ...hostIds(work, spec.hosts) } }),
  change(work, before, spec) {
    if (work.services.index.references("pool", before.id) > 0) {
      if (spec.type !== before.spec.type) throw fixed("/spec/type", `The type of pool ${before.name}, which holds volumes,`, "Make a new pool.");
      if (spec.path !== before.spec.path) throw fixed("/spec/path", `The path of pool ${before.name}, which holds volumes,`, "Make a new pool.");
    }
    return { spec: { ...spec, ...hostIds(work, spec.hosts) } };
  },
};

/** Names and ids of hosts as ids, each once. */
export function hostIds(work: Work, hosts: readonly string[] | undefined): { hosts?: string[] } {
  if (hosts === undefined) return {};
  const ids = hosts.map((host, index) => work.services.references.above("host", host, `/spec/hosts/${index}`).id);
  return { hosts: [...new Set(ids)] };
}
