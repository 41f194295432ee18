/** How evenly each cluster's hosts are used, as figures that are kept over time; from what hosts use. Pure. */
import type { ClusterMetric, RecordOf } from "@sheaf/model";
import { offered, type HostUse } from "./host-use.ts";
import { clusterOf } from "./records.ts";
import type { RecordCache } from "./context.ts";

export type ClusterFigures = Readonly<Record<ClusterMetric, number>>;

/** By the clusters' ids; of a cluster whose hosts' use is not known there are none. The same score as balancing's. */
export function clusterFigures(uses: readonly HostUse[], cache: RecordCache): ReadonlyMap<string, ClusterFigures> {
  const members = new Map<string, HostUse[]>();
  for (const use of uses) {
    const cluster: RecordOf<"cluster"> | undefined = clusterOf(use.host, cache);
    if (!cluster) continue;
    const others = members.get(cluster.id);
    if (others) others.push(use);
    else members.set(cluster.id, [use]);
  }
  return new Map([...members].map(([id, hosts]) => [id, figuresOf(hosts)]));
}

function figuresOf(hosts: readonly HostUse[]): ClusterFigures {
  const sum = (figure: (use: HostUse) => number): number => hosts.reduce((all, use) => all + figure(use), 0);
  const share = (used: number, of: number): number => (of > 0 ? used / of : 0);
  const cpu = share(
    sum(({ cpus }) => cpus),
    sum(({ host }) => offered(host).cpus),
  );
  const memory = share(
    sum(({ memoryBytes }) => memoryBytes),
    sum(({ host }) => offered(host).memoryBytes),
  );
  const level = Math.max(cpu, memory);
  const binding = ({ cpuShare, memoryShare }: HostUse): number => Math.max(cpuShare, memoryShare);
  const hottestHost = hosts.reduce((hottest, use) => Math.max(hottest, binding(use)), 0);
  const spread = Math.sqrt(sum((use) => (binding(use) - level) ** 2) / hosts.length);
  return { hottestHost, spread, level, cpu, memory, hosts: hosts.length };
}
