/**
 * The weighted formula of the article that the project comes from, number for number. It prefers hosts whose
 * use is near to what the machine asks for, and hosts that cost little power; it is kept for comparison, `balanced` is better.
 */
import { type HostFigures, type ScoringPolicy, share } from "../scoring-policy.ts";

/**
 * `0.5/(1+|cpu_n-cpu_r|/100) + 0.3/(1+|mem_n-mem_r|/100) + 0.2*(1-power/100)`
 * @param node use and power cost of the host, in percent
 * @param request what the machine asks for, in percent
 */
export function articleScore(node: { cpu: number; memory: number; power: number }, request: { cpu: number; memory: number }): number {
  return 0.5 / (1 + Math.abs(node.cpu - request.cpu) / 100) + 0.3 / (1 + Math.abs(node.memory - request.memory) / 100) + 0.2 * (1 - node.power / 100);
}

/** Use is what was measured, else what is promised; a request counts in percent of the host's capacity; unmeasured power costs nothing, anywhere. */
function terms(figures: HostFigures): { node: { cpu: number; memory: number; power: number }; request: { cpu: number; memory: number } } {
  const measured = (percent: number, used: number, capacity: number): number => (Number.isNaN(percent) ? 100 * share(used, capacity) : percent);
  return {
    node: {
      cpu: measured(figures.cpuPercent, figures.cpuUsed, figures.cpuCapacity),
      memory: measured(figures.memoryPercent, figures.memoryUsed, figures.memoryCapacity),
      power: Number.isNaN(figures.powerPercent) ? 0 : figures.powerPercent,
    },
    request: { cpu: 100 * share(figures.cpus, figures.cpuCapacity), memory: 100 * share(figures.memory, figures.memoryCapacity) },
  };
}

export const article: ScoringPolicy = {
  name: "article",
  summary: "The article's weighted formula of CPU, memory and power.",
  scorer: () => ({
    score: (figures) => {
      const { node, request } = terms(figures);
      return articleScore(node, request);
    },
    parts: (figures) => {
      const { node, request } = terms(figures);
      return {
        cpu: 0.5 / (1 + Math.abs(node.cpu - request.cpu) / 100),
        memory: 0.3 / (1 + Math.abs(node.memory - request.memory) / 100),
        power: 0.2 * (1 - node.power / 100),
      };
    },
  }),
};
