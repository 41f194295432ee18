/** The host whose fuller resource, CPU or memory, is emptiest once the machine is there. Evens hosts out. */
import { cpuShare, fullerShare, memoryShare, type ScoringPolicy } from "../scoring-policy.ts";

export const spread: ScoringPolicy = {
  name: "spread",
  summary: "The host whose fuller resource, CPU or memory, is emptiest with the machine on it.",
  scorer: () => ({
    score: (figures) => 1 - fullerShare(figures),
    parts: (figures) => ({ cpu: cpuShare(figures), memory: memoryShare(figures) }),
  }),
};
