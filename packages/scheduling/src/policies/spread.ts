/** The host whose fuller resource, CPU or memory, is emptiest once the machine is there. Evens hosts out. */
import { cpuShare, fullerShare, memoryShare, type ScoringPolicy } from "../scoring-policy.ts";

export const spread: ScoringPolicy = {
  name: "spread",
  summary: "The host whose fuller resource, CPU or memory, is emptiest with the machine on it.",
  scorer: (world) => ({
    score: (slot) => 1 - fullerShare(world, slot),
    parts: (slot) => ({ cpu: cpuShare(world, slot), memory: memoryShare(world, slot) }),
  }),
};
