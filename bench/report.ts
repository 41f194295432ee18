/** From what the benchmarks' processes said to a verdict and a table. Pure; called by main.ts. */
import type { Outcome, Target } from "./outcome.ts";

export interface Result {
  readonly benchmark: string;
  readonly tookMs: number;
  /** The machine's load average when it began: what else was going on. */
  readonly loadBefore: number;
  readonly outcome?: Outcome;
  /** Why it failed, whatever figures it gave. */
  readonly problem?: string;
}

/** @param ended exit code, or the signal that ended it */
export function readOutcome(output: string, ended: number | string): Pick<Result, "outcome" | "problem"> {
  let outcome: Outcome | undefined;
  try {
    outcome = JSON.parse(output) as Outcome; // written by `publish`
  } catch {
    return { problem: `it ended with ${ended} and no figures` };
  }
  // An unmet target ends with 1; anything else that is not 0 went wrong after the figures.
  const explained = ended === 0 || (ended === 1 && outcome.targets.some(({ met }) => !met));
  return explained ? { outcome } : { outcome, problem: `it ended with ${ended}` };
}

/** All was run, and all targets are met. */
export const allMet = (results: readonly Result[]): boolean =>
  results.every(({ outcome, problem }) => problem === undefined && outcome?.targets.every(({ met }) => met) === true);

export function table(results: readonly Result[]): string {
  const rows = [["benchmark", "target", "figure", "bound", ""]];
  for (const { benchmark, outcome, problem } of results) {
    if (problem !== undefined) rows.push([benchmark, "", "", "", `FAILED: ${problem}`]);
    if (outcome?.targets.length === 0) rows.push([benchmark, "(no target; figures in the JSON)", "", "", ""]);
    for (const target of outcome?.targets ?? [])
      rows.push([benchmark, target.name, withUnit(target.figure, target), bound(target), target.met ? "met" : "NOT MET"]);
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const bound = (target: Target): string =>
  "atMost" in target.bound ? `≤ ${withUnit(target.bound.atMost, target)}` : `≥ ${withUnit(target.bound.atLeast, target)}`;
const withUnit = (figure: number | null, { unit }: Target): string => `${figure ?? "none"} ${unit}`.trim(); // JSON has no NaN
