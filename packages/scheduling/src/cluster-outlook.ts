/** How a cluster stands in a picture of the site, by what is promised: what a question of what-if is answered with, before and after. Pure. */
import { type FailOverRoom, failOverRoom } from "./fail-over-room.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export interface ClusterOutlook {
  /** Open, and not left out. */
  readonly hosts: number;
  /** Promised ÷ promisable on these, in percent. */
  readonly cpuPercent: number;
  readonly memoryPercent: number;
  /** Of CPU and memory whichever is more, on the host where it is most; and how far hosts are from their mean, as root mean square. */
  readonly fullestPercent: number;
  readonly spreadPoints: number;
  /** Absent where the cluster is to survive nothing. */
  readonly failOver?: FailOverRoom;
}

/** @param without hosts that are left out */
export function clusterOutlook(snapshot: SnapshotIndex, clusterId: string, without: ReadonlySet<string> = new Set()): ClusterOutlook {
  const { table } = snapshot;
  const number = table.numberOf(clusterId);
  const shares: number[] = [];
  const sum = { cpuUsed: 0, cpuCapacity: 0, memoryUsed: 0, memoryCapacity: 0 };
  for (let slot = 0; slot < table.length; slot += 1) {
    const facts = table.facts[slot];
    if (facts?.state !== "open" || table.clusterNumber[slot] !== number || without.has(facts.record.id)) continue;
    const [cpuUsed = 0, cpuCapacity = 0] = [table.cpuUsed[slot], table.cpuCapacity[slot]];
    const memoryUsed = (table.memoryUsed[slot] ?? 0) + (table.hugeUsed[slot] ?? 0);
    const memoryCapacity = (table.memoryCapacity[slot] ?? 0) + (table.hugeCapacity[slot] ?? 0);
    sum.cpuUsed += cpuUsed;
    sum.cpuCapacity += cpuCapacity;
    sum.memoryUsed += memoryUsed;
    sum.memoryCapacity += memoryCapacity;
    shares.push(Math.max(percent(cpuUsed, cpuCapacity), percent(memoryUsed, memoryCapacity)));
  }
  const mean = shares.reduce((all, share) => all + share, 0) / Math.max(1, shares.length);
  const spread = Math.sqrt(shares.reduce((all, share) => all + (share - mean) ** 2, 0) / Math.max(1, shares.length));
  const room = failOverRoom(snapshot, clusterId, without);
  return {
    hosts: shares.length,
    cpuPercent: rounded(percent(sum.cpuUsed, sum.cpuCapacity)),
    memoryPercent: rounded(percent(sum.memoryUsed, sum.memoryCapacity)),
    fullestPercent: rounded(Math.max(0, ...shares)),
    spreadPoints: rounded(spread),
    ...(room ? { failOver: room } : {}),
  };
}

const percent = (part: number, whole: number): number => (whole > 0 ? (100 * part) / whole : 0);
const rounded = (figure: number): number => Math.round(figure * 10) / 10;
