/** Licences that are bound to hosts (by labels) or counted by the hosts, or cores of hosts, that carry machines with them. Each cluster has its own. */
import type { Licence } from "@sheaf/model";
import { type HostFilter, hostFilter } from "./host-filter.ts";
import { hasLabels } from "./host-table.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** Which hosts they cover: no machine changes it. */
export function licenceHostFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  return request.licences.map((name) => {
    const licences = licencesBy(name, snapshot);
    const fails = (slot: number): boolean => {
      const licence = licences.get(table.clusterNumber[slot] ?? -1);
      return licence === undefined || !hasLabels(table.facts[slot]?.record.labels, licence.hosts ?? {});
    };
    return hostFilter(
      { code: `licence:${name}`, own: true, one: `is not covered by licence ${name}`, many: `are not covered by licence ${name}` },
      fails,
    );
  });
}

/** Whether one more host may carry such machines: those that do already count once. */
export function licenceCountFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { table, licences } = snapshot;
  const own = snapshot.charge(request.vm);
  return request.licences.flatMap((name) => {
    const limits = licencesBy(name, snapshot);
    if (![...limits.values()].some(({ maximumHosts, maximumCores }) => maximumHosts !== undefined || maximumCores !== undefined)) return [];
    const mine = own?.licences.includes(name) === true ? own.slots : [];
    const carries = (slot: number): boolean => licences.count(name, slot) > Number(mine.includes(slot));
    const used = new Map<number, { hosts: number; cores: number }>();
    for (const slot of licences.slots(name)) {
      if (!carries(slot)) continue;
      const cluster = table.clusterNumber[slot] ?? -1;
      const sum = used.get(cluster) ?? { hosts: 0, cores: 0 };
      used.set(cluster, { hosts: sum.hosts + 1, cores: sum.cores + table.physicalCores(slot) });
    }
    const fails = (slot: number): boolean => {
      const cluster = table.clusterNumber[slot] ?? -1;
      const licence = limits.get(cluster);
      if (licence === undefined || carries(slot)) return false;
      const { hosts, cores } = used.get(cluster) ?? { hosts: 0, cores: 0 };
      const { maximumHosts = Number.POSITIVE_INFINITY, maximumCores = Number.POSITIVE_INFINITY } = licence;
      return hosts + 1 > maximumHosts || cores + table.physicalCores(slot) > maximumCores;
    };
    const words = {
      code: `licences:${name}`,
      own: false,
      one: `would use more of licence ${name} than there is`,
      many: `would use more of licence ${name} than there is`,
    };
    return [hostFilter(words, fails)];
  });
}

/** By the number of the cluster. O(clusters). */
function licencesBy(name: string, { table }: SnapshotIndex): Map<number, Licence> {
  const found = new Map<number, Licence>();
  for (const { id, spec } of table.clusters()) {
    const licence = spec.licences?.[name];
    if (licence !== undefined) found.set(table.numberOf(id), licence);
  }
  return found;
}
