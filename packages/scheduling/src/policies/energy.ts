/**
 * The host that draws least more for each vCPU of the machine: by its power curve, and with what it draws idle where it has no machine yet
 * and could sleep. A machine is taken to use its vCPUs in the share that the host's overcommit gives them.
 */
import { type HostFigures, type ScoringPolicy, share } from "../scoring-policy.ts";

/** @param watts at evenly spaced loads from idle to full, at least two @param load 0 … 1 */
export function wattsAt(watts: readonly number[], load: number): number {
  const at = Math.min(1, Math.max(0, load)) * (watts.length - 1);
  const below = Math.min(watts.length - 2, Math.floor(at));
  const [low = 0, high = 0] = [watts[below], watts[below + 1]];
  return low + (high - low) * (at - below);
}

function added(figures: HostFigures): number {
  const before = share(figures.cpuUsed, figures.cpuCapacity);
  const after = share(figures.cpuUsed + figures.cpus, figures.cpuCapacity);
  return wattsAt(figures.watts, after) - (figures.machines === 0 ? 0 : wattsAt(figures.watts, before));
}

const perCpu = (figures: HostFigures): number => added(figures) / Math.max(1, figures.cpus);

export const energy: ScoringPolicy = {
  name: "energy",
  summary: "The host that draws least more power for the machine; one that could sleep is woken last.",
  scorer: () => ({
    score: (figures) => -perCpu(figures),
    parts: (figures) => ({ watts: added(figures), wattsPerCpu: perCpu(figures) }),
  }),
};
