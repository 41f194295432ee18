/** A day of the PlanetLab traces: `DAY.csv.gz`, one line a machine: its name, then 288 whole percentages of its CPU, one every 300 s. */
import { readFile, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";

export const stepSeconds = 300;
export const stepsPerDay = 288;

export interface Day {
  readonly name: string;
  /** Per machine, in the file's order, the share of its CPU that it asks for (0 to 1) at each step. */
  readonly shares: readonly Float64Array[];
}

/** All days in `folder`/planetlab, in the order of their names. Throws with a sentence where there are none. */
export async function readDays(folder: string | undefined): Promise<Day[]> {
  if (folder === undefined || folder === "")
    throw new Error("The PlanetLab traces are not there: set SHEAF_TRACES to the folder that holds planetlab/*.csv.gz.");
  const within = join(folder, "planetlab");
  const files = (await readdir(within).catch(() => [])).filter((name) => name.endsWith(".csv.gz")).toSorted();
  if (files.length === 0) throw new Error(`No PlanetLab day lies in ${within}: SHEAF_TRACES must name the folder that holds planetlab/*.csv.gz.`);
  return Promise.all(files.map(async (name) => parseDay(basename(name, ".csv.gz"), gunzipSync(await readFile(join(within, name))).toString("utf8"))));
}

export function parseDay(name: string, text: string): Day {
  const shares = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line, index) => {
      // A name has no comma.
      const values = line.split(",").slice(1);
      const percentages = Float64Array.from(values, Number);
      if (values.length !== stepsPerDay || percentages.some((value) => !(value >= 0 && value <= 100)))
        throw new Error(`Day ${name}, line ${index + 1}: ${stepsPerDay} percentages from 0 to 100 belong after the name.`);
      return percentages.map((value) => value / 100);
    });
  return { name, shares };
}
