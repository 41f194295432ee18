/**
 * Consolidation on the PlanetLab traces: the classical experiment, with CloudSim's policies as we rebuilt them beside ours. `node bench/planetlab.ts`
 * with SHEAF_TRACES naming the folder that holds `planetlab/*.csv.gz`; every day in it is played. The harness is believed where its baselines
 * come near to what CloudSim itself gives.
 */
import { type Target, atMost, publish, rounded } from "./outcome.ts";
import { type Experiment, play } from "./planetlab/experiment.ts";
import { hosts, machinesOf } from "./planetlab/fleet.ts";
import { leastKwh } from "./planetlab/lower-bound.ts";
import { overByRegression, overThreshold, placeBySize, powerAware } from "./planetlab/power-aware-policy.ts";
import { type Published, published } from "./planetlab/published.ts";
import { readDays } from "./planetlab/trace.ts";
import type { Measures } from "./planetlab/measures.ts";

const lrr = powerAware(overByRegression(1.2));
const thr = powerAware(overThreshold(0.8));

const believed = (day: string, name: string, { energyKwh, migrations }: Measures, table: Published): Target[] => [
  atMost(`${day} ${name} energy, off CloudSim's`, Math.abs(energyKwh / table.energyKwh - 1) * 100, 8, "%"),
  atMost(`${day} ${name} migrations, off CloudSim's`, Math.abs(migrations / table.migrations - 1) * 100, 15, "%"),
];

const targets: Target[] = [];
const details: Record<string, unknown> = {};
for (const day of await readDays(process.env.SHEAF_TRACES)) {
  const machines = machinesOf(day);
  const experiment: Experiment = { machines, hosts, initial: placeBySize(machines, hosts), idleLeave: true };
  const table = published[day.name];
  const played = { "LRR-MMT-1.2": play(experiment, lrr), "THR-MMT-0.8": play(experiment, thr) };
  if (table) targets.push(...believed(day.name, "LRR", played["LRR-MMT-1.2"], table.lrr), ...believed(day.name, "THR", played["THR-MMT-0.8"], table.thr));
  details[day.name] = { machines: machines.length, leastKwh: rounded(leastKwh(machines, hosts)), played };
}
publish(targets, details);
