/** Keeps what `cpuBaseline: auto` means in each cluster. Sole writer of the clusters' part `status/baseline`, only when the model changes. */
import { partKey, type RecordOf } from "@sheaf/model";
import { chooseBaseline } from "@sheaf/planning";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { clusterOf } from "./records.ts";

export function baselineController(context: ControllerContext): Controller {
  const { cache, clock, logger } = context;
  return {
    name: "baseline",
    reads: ["cluster", "host"],
    writes: ["cluster/status/baseline"],
    initialKeys: () => [...cache.all("cluster")].map((cluster) => cluster.id),
    keysFor({ kind, id, record, previous }) {
      if (kind === "cluster") return record ? [id] : [];
      if (kind !== "host") return [];
      // The kind says what they are.
      const hosts = [record, previous] as (RecordOf<"host"> | undefined)[];
      const [now, before] = hosts.map(
        (host) => host && JSON.stringify([host.spec.cluster, host.status.agent?.hypervisor.cpuModels, host.status.agent?.hypervisor.accelerated]),
      );
      if (now === before) return [];
      return new Set(hosts.flatMap((host) => (host && clusterOf(host, cache)?.id) ?? []));
    },
    async reconcile(clusterId) {
      const cluster = cache.get("cluster", clusterId);
      if (!cluster || cluster.deletedAt !== undefined) return undefined;
      const hosts = [];
      for (const host of cache.all("host"))
        if (host.status.agent && clusterOf(host, cache)?.id === clusterId) hosts.push(host.status.agent.hypervisor);
      const chosen = chooseBaseline(hosts);
      const before = cluster.status.baseline;
      if (!chosen || (before?.model === chosen.model && before.hosts === hosts.length)) return undefined;
      logger.info({ cluster: cluster.name, from: before?.model ?? "none", to: chosen.model, why: chosen.reason }, "a cluster's CPU baseline changed");
      const result = await commit(context, {
        compare: [{ key: partKey("cluster", clusterId, "spec"), modRevision: cluster.specRevision }],
        then: [{ put: partKey("cluster", clusterId, "status/baseline"), value: JSON.stringify({ ...chosen, hosts: hosts.length, at: clock.now() }) }],
      });
      if (!result.succeeded) throw new Overtaken(`cluster ${cluster.name} changed meanwhile`);
      return undefined;
    },
  };
}
