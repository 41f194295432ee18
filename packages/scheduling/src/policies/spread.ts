/** The default: the host whose fuller resource, CPU or memory, is emptiest once the machine is there. Evens hosts out. */
import { type HostFigures, type ScoringPolicy, share } from "../scoring-policy.ts";

const cpu = (figures: HostFigures): number => share(figures.cpuUsed + figures.cpus, figures.cpuCapacity);
const memory = (figures: HostFigures): number => share(figures.memoryUsed + figures.memory, figures.memoryCapacity);

export const spread: ScoringPolicy = {
  name: "spread",
  summary: "The host whose fuller resource, CPU or memory, is emptiest with the machine on it.",
  score: (figures) => 1 - Math.max(cpu(figures), memory(figures)),
  parts: (figures) => ({ cpu: cpu(figures), memory: memory(figures) }),
};
