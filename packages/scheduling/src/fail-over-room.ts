/**
 * Whether a cluster can lose some of its hosts and still start their highly available machines elsewhere: memory counted, as one heap
 * (whether each machine finds a single host is decided when it happens). Used by placement as a limit, and told to people.
 *
 * Losing a host takes its free memory away and adds what its highly available machines need. So the hosts whose loss is worst are those
 * with the largest sum of both, and a new machine changes that sum on no host: it only takes from the heap.
 */
import type { SnapshotIndex } from "./snapshot.ts";

export interface FailOverRoom {
  readonly hosts: number;
  /** As many as count at this number of hosts. */
  readonly toleratedHostFailures: number;
  /** Memory that may still be promised; negative: so much is missing. */
  readonly spareMemoryBytes: number;
}

/**
 * O(hosts), and the cluster's hosts sorted.
 * @param emptied hosts to be left out: they carry nothing, and nothing starts there, as on those that are asleep
 * @returns `undefined` for a cluster that is to survive nothing
 */
export function failOverRoom(snapshot: SnapshotIndex, clusterReference: string, emptied?: ReadonlySet<string>): FailOverRoom | undefined {
  const { table } = snapshot;
  const wishes = table.cluster(clusterReference)?.spec.highAvailability;
  if (!wishes || (wishes.toleratedHostFailures === 0 && wishes.toleratedHostFailurePercent === 0)) return undefined;
  const number = table.numberOf(clusterReference);
  const losses: number[] = [];
  let free = 0;
  for (let slot = 0; slot < table.length; slot += 1) {
    if (table.clusterNumber[slot] !== number) continue;
    const facts = table.facts[slot];
    if (facts === undefined || facts.state === "asleep" || emptied?.has(facts.record.id) === true) continue;
    // Nothing starts on a host that is not open, but what runs there can be lost.
    const room = facts.state === "open" ? Math.max(0, (table.memoryCapacity[slot] ?? 0) - (table.memoryUsed[slot] ?? 0)) : 0;
    free += room;
    losses.push(room + (table.availableMemory[slot] ?? 0));
  }
  const failures = Math.max(wishes.toleratedHostFailures, Math.ceil((losses.length * wishes.toleratedHostFailurePercent) / 100));
  const worst = Float64Array.from(losses)
    .sort() // by number, in typed arrays
    .subarray(Math.max(0, losses.length - failures))
    .reduce((sum, loss) => sum + loss, 0);
  return { hosts: losses.length, toleratedHostFailures: failures, spareMemoryBytes: free - worst };
}
