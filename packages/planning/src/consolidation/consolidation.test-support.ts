/** Short forms of hosts and machines for the planner's tests: hosts of 10 cores, machines with a constant or a given demand. */
import type { ConsolidationHost, ConsolidationMachine } from "./consolidation-input.ts";

export const gib = 2 ** 30;

export const host = (id: string, of: Partial<ConsolidationHost> = {}): ConsolidationHost => ({
  id,
  cpuMillicores: 10_000,
  coreMillicores: 1000,
  memoryBytes: 64 * gib,
  powerCurve: [100, 200],
  state: "awake",
  usable: true,
  ...of,
});

/** @param demand millicores: one value for 24 samples, or the samples */
export const machine = (
  id: string,
  on: string,
  demand: number | readonly number[],
  of: Partial<ConsolidationMachine> = {},
): ConsolidationMachine => ({
  id,
  host: on,
  cpus: 8,
  cpuMillicores: 8000,
  memoryBytes: gib,
  demand: typeof demand === "number" ? new Float64Array(24).fill(demand) : Float64Array.from(demand),
  movable: true,
  ...of,
});
