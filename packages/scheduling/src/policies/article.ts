/**
 * The weighted formula of the article that the project comes from, number for number. It prefers hosts whose
 * use is near to what the machine asks for, and hosts that cost little power; it is kept for comparison, `balanced` is better.
 */
import { type ScoringPolicy, type ScoringWorld, share } from "../scoring-policy.ts";

/**
 * `0.5/(1+|cpu_n-cpu_r|/100) + 0.3/(1+|mem_n-mem_r|/100) + 0.2*(1-power/100)`
 * @param node use and power cost of the host, in percent
 * @param request what the machine asks for, in percent
 */
export function articleScore(node: { cpu: number; memory: number; power: number }, request: { cpu: number; memory: number }): number {
  return 0.5 / (1 + Math.abs(node.cpu - request.cpu) / 100) + 0.3 / (1 + Math.abs(node.memory - request.memory) / 100) + 0.2 * (1 - node.power / 100);
}

/** Use is what was measured, else what is promised; a request counts in percent of the host's capacity; unmeasured power costs nothing, anywhere. */
function terms(
  world: ScoringWorld,
  slot: number,
): { node: { cpu: number; memory: number; power: number }; request: { cpu: number; memory: number } } {
  const { cpuPercent, memoryPercent, powerPercent } = world.table;
  const measured = (percent: number | undefined, otherwise: number): number => (percent === undefined || Number.isNaN(percent) ? otherwise : percent);
  const cpus = world.cpuCapacity[slot] ?? 0;
  const memory = world.memoryCapacity[slot] ?? 0;
  return {
    node: {
      cpu: measured(cpuPercent[slot], 100 * share(world.cpuUsed[slot] ?? 0, cpus)),
      memory: measured(memoryPercent[slot], 100 * share(world.memoryUsed[slot] ?? 0, memory)),
      power: measured(powerPercent[slot], 0),
    },
    request: { cpu: 100 * share(world.cpus, cpus), memory: 100 * share(world.memory, memory) },
  };
}

export const article: ScoringPolicy = {
  name: "article",
  summary: "The article's weighted formula of CPU, memory and power.",
  scorer: (world) => ({
    score: (slot) => {
      const { node, request } = terms(world, slot);
      return articleScore(node, request);
    },
    parts: (slot) => {
      const { node, request } = terms(world, slot);
      return {
        cpu: 0.5 / (1 + Math.abs(node.cpu - request.cpu) / 100),
        memory: 0.3 / (1 + Math.abs(node.memory - request.memory) / 100),
        power: 0.2 * (1 - node.power / 100),
      };
    },
  }),
};
