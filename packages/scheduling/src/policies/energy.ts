/**
 * The host that draws least more for each vCPU of the machine: by its power curve, and with what it draws idle where it has no machine yet
 * and could sleep. A machine is taken to use its vCPUs in the share that the host's overcommit gives them.
 */
import { type ScoringPolicy, share } from "../scoring-policy.ts";

/** @param watts at evenly spaced loads from idle to full, at least two @param load 0 … 1 */
export function wattsAt(watts: readonly number[], load: number): number {
  const at = Math.min(1, Math.max(0, load)) * (watts.length - 1);
  const below = Math.min(watts.length - 2, Math.floor(at));
  const [low = 0, high = 0] = [watts[below], watts[below + 1]];
  return low + (high - low) * (at - below);
}

/** Of a host without a record: nothing. */
const unknown = [0, 0];

export const energy: ScoringPolicy = {
  name: "energy",
  summary: "The host that draws least more power for the machine; one that could sleep is woken last.",
  scorer: ({ table, cpuUsed, cpuCapacity, cpus }) => {
    const added = (slot: number): number => {
      const watts = table.facts[slot]?.watts ?? unknown;
      const sleeps = (table.machines[slot] ?? 0) === 0;
      const [used, capacity] = [cpuUsed[slot] ?? 0, cpuCapacity[slot] ?? 0];
      return wattsAt(watts, share(used + cpus, capacity)) - (sleeps ? 0 : wattsAt(watts, share(used, capacity)));
    };
    const perCpu = (slot: number): number => added(slot) / Math.max(1, cpus);
    return {
      score: (slot) => -perCpu(slot),
      parts: (slot) => ({ watts: added(slot), wattsPerCpu: perCpu(slot) }),
    };
  },
};
