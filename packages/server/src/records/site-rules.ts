/** Rules for clusters, hosts and pools: what stands above projects. */
import { fencingMethodName, SheafError, type FencingMethod } from "@sheaf/model";
import type { KindRules } from "./kind-rules.ts";
import { secretText } from "./present.ts";
import { fixed, invalid } from "./refusals.ts";
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
    return { spec: { ...spec, cluster: cluster.id, fencing: sealedFencing(work, spec.fencing, before.spec.fencing) } };
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

/** Passwords are encrypted. `(secret)` keeps the one of the method at the same place, where that is of the same kind and asks the same device. */
function sealedFencing(work: Work, methods: readonly FencingMethod[], before: readonly FencingMethod[]): FencingMethod[] {
  return methods.map((method, index) => {
    if (method.type === "watchdog" || method.password === undefined) return method;
    if (method.password !== secretText) return { ...method, password: work.services.context.secrets.seal(method.password) };
    const kept = before[index];
    // A password must not be sent to another device than the one that it was given for.
    if (kept === undefined || kept.type === "watchdog" || kept.password === undefined || fencingMethodName(kept) !== fencingMethodName(method))
      throw invalid(`/spec/fencing/${index}/password`, `is "${secretText}", which stands for the password of the same device; give it again`);
    return { ...method, password: kept.password };
  });
}

/** Names and ids of hosts as ids, each once. */
export function hostIds(work: Work, hosts: readonly string[] | undefined): { hosts?: string[] } {
  if (hosts === undefined) return {};
  const ids = hosts.map((host, index) => work.services.references.above("host", host, `/spec/hosts/${index}`).id);
  return { hosts: [...new Set(ids)] };
}
