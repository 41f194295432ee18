/** Ours: the product's consolidation planner, told of the experiment's hosts and machines in its own terms. One MIPS counts as one millicore. */
import { type ConsolidationOptions, planConsolidation } from "@sheaf/planning";
import { type Move, type Policy, type View, gone } from "./experiment.ts";

const name = (index: number): string => String(index).padStart(5, "0");

export const sheaf: Policy = ({ hosts, machines, hostOf, seen }) => decide({ hosts, machines, hostOf, seen }, {});

/** @param options in place of the product's own */
export function decide({ hosts, machines, hostOf, seen }: View, options: Partial<ConsolidationOptions>): Move[] {
  const occupied = new Set(hostOf);
  const { moves } = planConsolidation({
    hosts: hosts.map((model, index) => ({
      id: name(index),
      cpuMillicores: model.mips,
      coreMillicores: model.coreMips,
      // RAM binds nobody in this experiment.
      memoryBytes: Infinity,
      powerCurve: model.curve,
      state: occupied.has(index) ? "awake" : "asleep",
      usable: true,
    })),
    machines: machines.flatMap(({ mips, ramMb }, machine) => {
      const host = hostOf[machine] ?? gone;
      if (host === gone) return [];
      const demand = seen(machine);
      return [{ id: name(machine), host: name(host), cpus: 1, cpuMillicores: mips, memoryBytes: ramMb * 2 ** 20, demand, movable: true }];
    }),
    // Hosts wake at once in this experiment.
    options: { spareHosts: 0, ...options },
  });
  return moves.map(({ machine, to }) => ({ machine: Number(machine), host: Number(to) }));
}
