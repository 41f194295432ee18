/**
 * How full hosts get before the first machine is refused: our policy `balanced` against best fit and dot product on the same hosts and the
 * same requests. Sizes are random, or drawn from the production cluster openb (Alibaba 2023; CPU and memory columns of each
 * `openb/openb_pod_list_*.csv` in the folder that SHEAF_TRACES names). `node bench/packing.ts [--seeds N]`.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { randomInt, seededRandom, type Random } from "@sheaf/base";
import { atLeast, publish, type Target } from "./outcome.ts";
import { bestFit, dotProduct, sheafPolicy } from "./packing-choosers.ts";
import { type Chooser, fillUp, type HostShape, type Size } from "./packing-run.ts";

/** Compute, general and memory hosts, as their makers sell them: 2, 4 and 8 GiB a CPU. */
const shapes: readonly HostShape[] = [
  { cpus: 32, memoryGib: 64 },
  { cpus: 64, memoryGib: 128 },
  { cpus: 48, memoryGib: 192 },
  { cpus: 64, memoryGib: 256 },
  { cpus: 32, memoryGib: 256 },
  { cpus: 48, memoryGib: 384 },
];
const hostCount = 200;
/** Mean over the seeds, in percentage points. */
const aheadBy = 1;
/** On any one seed. */
const behindBy = -0.5;

interface Workload {
  readonly name: string;
  readonly draw: (random: Random) => Size;
}

const fits = (size: Size): boolean => shapes.some(({ cpus, memoryGib }) => size.cpus <= cpus && size.memoryGib <= memoryGib);
const pick = <T>(random: Random, from: readonly T[]): T => from[randomInt(random, from.length)] as T; // the index is within

/** 1 to 16 vCPUs, with 1 to 16 GiB for each. */
const randomSizes: Workload = {
  name: "random sizes",
  draw: (random) => {
    const cpus = 1 + randomInt(random, 16);
    return { cpus, memoryGib: Math.max(1, Math.round(cpus * 2 ** ((randomInt(random, 4096) / 4096) * 4))) };
  },
};

async function traces(): Promise<Workload[]> {
  const folder = process.env["SHEAF_TRACES"];
  if (folder === undefined) throw new Error("The sizes of the traces are wanted: set SHEAF_TRACES to the folder that holds openb/.");
  const names = (await readdir(join(folder, "openb"))).filter((name) => /^openb_pod_list_.*\.csv$/.test(name)).toSorted();
  if (names.length === 0)
    throw new Error(`There is no openb_pod_list_*.csv in ${join(folder, "openb")}: set SHEAF_TRACES to the folder that holds openb/.`);
  return Promise.all(
    names.map(async (name) => {
      const [header = "", ...lines] = (await readFile(join(folder, "openb", name), "utf8")).trim().split(/\r?\n/);
      const columns = header.split(",");
      const [cpu, memory] = [columns.indexOf("cpu_milli"), columns.indexOf("memory_mib")];
      const sizes = lines
        .map((line) => line.split(","))
        .map((cells) => ({ cpus: Number(cells[cpu]) / 1000, memoryGib: Number(cells[memory]) / 1024 }))
        .filter((size) => size.cpus > 0 && size.memoryGib > 0 && fits(size));
      return { name: name.replace(/^openb_pod_list_(.*)\.csv$/, "openb $1"), draw: (random: Random) => pick(random, sizes) };
    }),
  );
}

const { values } = parseArgs({ options: { seeds: { type: "string", default: "20" } } });
const seeds = Array.from({ length: Number(values.seeds) }, (_, n) => n + 1);
const rivals: readonly Chooser[] = [bestFit, dotProduct];
const ours = sheafPolicy("balanced");
const further = (["fragmentation", "spread", "pack"] as const).map(sheafPolicy);
const mean = (of: readonly number[]): number => of.reduce((sum, figure) => sum + figure, 0) / of.length;

const targets: Target[] = [];
const details: Record<string, unknown> = {};
for (const workload of [randomSizes, ...(await traces())]) {
  const run = (chooser: Chooser, of: readonly number[]): number[] =>
    of.map((seed) => {
      const random = seededRandom(seed);
      const hosts = Array.from({ length: hostCount }, () => pick(random, shapes));
      return 100 * fillUp(hosts, () => workload.draw(random), chooser);
    });
  const mine = run(ours, seeds);
  const shares: Record<string, number> = { [ours.name]: mean(mine) };
  for (const rival of rivals) {
    const theirs = run(rival, seeds);
    const ahead = mine.map((share, at) => share - (theirs[at] ?? Number.NaN));
    shares[rival.name] = mean(theirs);
    targets.push(
      atLeast(`${workload.name}: ahead of ${rival.name}, mean of ${seeds.length} seeds`, mean(ahead), aheadBy, "points"),
      atLeast(`${workload.name}: ahead of ${rival.name}, worst seed`, Math.min(...ahead), behindBy, "points"),
    );
  }
  for (const other of further) shares[other.name] = mean(run(other, seeds.slice(0, 5)));
  details[workload.name] = Object.fromEntries(Object.entries(shares).map(([name, share]) => [name, Number(share.toFixed(2))]));
  process.stderr.write(`${workload.name}: ${JSON.stringify(details[workload.name])}\n`);
}
publish(targets, { shareOfTheBindingResource: details });
