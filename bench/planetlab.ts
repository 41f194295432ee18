/**
 * Consolidation on the PlanetLab traces: the classical experiment, with CloudSim's policies as we rebuilt them beside ours. `node bench/planetlab.ts`
 * with SHEAF_TRACES naming the folder that holds `planetlab/*.csv.gz`; every day in it is played. The harness is believed where its baselines
 * come near to what CloudSim itself gives. Each day is played twice: as CloudSim does, where machines that ask for nothing leave, and with
 * all machines to the end.
 */
import { type Target, atMost, publish, rounded } from "./outcome.ts";
import { type Policy, play } from "./planetlab/experiment.ts";
import { type Machine, hosts, machinesOf } from "./planetlab/fleet.ts";
import { leastKwh, untilIdle } from "./planetlab/lower-bound.ts";
import type { Measures } from "./planetlab/measures.ts";
import { overByRegression, overThreshold, placeBySize, powerAware } from "./planetlab/power-aware-policy.ts";
import { type Published, published } from "./planetlab/published.ts";
import { sheaf } from "./planetlab/sheaf-policy.ts";
import { syntheticDay } from "./planetlab/synthetic-day.ts";
import { type Day, readDays } from "./planetlab/trace.ts";
import { spread } from "./statistics.ts";

const lrr = powerAware(overByRegression(1.2));
const thr = powerAware(overThreshold(0.8));
const syntheticMachines = 600;

const targets: Target[] = [];
const details: Record<string, unknown> = {};

function playDay(day: Day, idleLeave: boolean): void {
  const machines = machinesOf(day);
  const initial = placeBySize(machines, hosts);
  const run = (policy: Policy): Measures => play({ machines, hosts, initial, idleLeave }, policy);
  const decisionsMs: number[] = [];
  const timed: Policy = (view) => {
    const from = performance.now();
    const moves = sheaf(view);
    decisionsMs.push(performance.now() - from);
    return moves;
  };
  const label = idleLeave ? day.name : `${day.name}, all stay`;
  const baseline = run(lrr);
  const ours = run(timed);
  const table = idleLeave ? published[day.name] : undefined;
  const threshold = table && run(thr);
  if (table) targets.push(...believed(`${label} LRR`, baseline, table.lrr));
  if (table && threshold) targets.push(...believed(`${label} THR`, threshold, table.thr));
  targets.push(...ahead(label, ours, baseline));
  const kwh = leastKwh(idleLeave ? machines.map(withoutIdleEnd) : machines, hosts);
  details[label] = {
    machines: machines.length,
    leastKwh: rounded(kwh),
    oursOverLeast: rounded(ours.energyKwh / kwh),
    decisionMs: spread(decisionsMs),
    ...{ sheaf: ours, "LRR-MMT-1.2": baseline, "THR-MMT-0.8": threshold },
  };
}

const withoutIdleEnd = (machine: Machine): Machine => ({ ...machine, demand: untilIdle(machine.demand) });

const believed = (label: string, { energyKwh, migrations }: Measures, table: Published): Target[] => [
  atMost(`${label}: energy, off CloudSim's`, Math.abs(energyKwh / table.energyKwh - 1) * 100, 8, "%"),
  atMost(`${label}: migrations, off CloudSim's`, Math.abs(migrations / table.migrations - 1) * 100, 15, "%"),
];

const ahead = (label: string, ours: Measures, baseline: Measures): Target[] => [
  atMost(`${label}: energy, ours / LRR`, ours.energyKwh / baseline.energyKwh, 0.9, "×"),
  atMost(`${label}: migrations, ours / LRR`, ours.migrations / baseline.migrations, 0.15, "×"),
  atMost(`${label}: SLAV, ours / LRR`, ours.slav / baseline.slav, 0.5, "×"),
  atMost(`${label}: CPU demand not served, ours / LRR`, ours.unserved / baseline.unserved, 1, "×"),
];

for (const day of await readDays(process.env.SHEAF_TRACES)) {
  playDay(day, true);
  playDay(day, false);
}
for (const kind of ["office", "bursts"] as const) playDay(syntheticDay(kind, syntheticMachines, 1), false);
publish(targets, details);
