/** The least energy that could do a day's work: all that is asked for at each step, packed onto full hosts, those first that do most for a watt. */
import { wattsAt } from "@sheaf/planning";
import type { HostModel, Machine } from "./fleet.ts";
import { stepSeconds } from "./trace.ts";

const joulesPerKwh = 3_600_000;

export function leastKwh(machines: readonly Machine[], hosts: readonly HostModel[]): number {
  const efficient = hosts.toSorted((a, b) => wattsAt(a.curve, 1) / a.mips - wattsAt(b.curve, 1) / b.mips);
  let joules = 0;
  for (let step = 0; step < (machines[0]?.demand.length ?? 0); step += 1) {
    let left = machines.reduce((sum, { demand }) => sum + (demand[step] ?? 0), 0);
    for (const { mips, curve } of efficient) {
      if (left <= 0) break;
      joules += stepSeconds * wattsAt(curve, left / mips);
      left -= mips;
    }
  }
  return joules / joulesPerKwh;
}

/** What a machine asks for before it has asked for nothing twice in a row: then CloudSim takes it for finished. */
export function untilIdle(demand: Float64Array): Float64Array {
  const end = demand.findIndex((mips, step) => step > 0 && mips === 0 && (demand[step + 1] ?? 0) === 0);
  return end === -1 ? demand : demand.slice().fill(0, end);
}
