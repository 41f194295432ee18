/** The fullest host that still fits: leaves others empty, so that large machines fit and idle hosts can be powered down. */
import { type HostFigures, type ScoringPolicy, share } from "../scoring-policy.ts";

const cpu = (figures: HostFigures): number => share(figures.cpuUsed + figures.cpus, figures.cpuCapacity);
const memory = (figures: HostFigures): number => share(figures.memoryUsed + figures.memory, figures.memoryCapacity);

export const pack: ScoringPolicy = {
  name: "pack",
  summary: "The host whose fuller resource, CPU or memory, is fullest with the machine on it.",
  score: (figures) => Math.max(cpu(figures), memory(figures)),
  parts: (figures) => ({ cpu: cpu(figures), memory: memory(figures) }),
};
