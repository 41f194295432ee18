/** From rows in their places to one figure for each step of time. Pure. */
import { absent, quantaOf } from "./codes.ts";
import type { RowGrid } from "./row-grid.ts";

export type Aggregation = "mean" | "max" | "min" | { readonly percentile: number };

/**
 * @param figure number of the metric
 * @param bits its significant bits
 * @param perStep rows of the grid in one step
 * @returns quanta; `null` where nothing was measured
 */
export function aggregate(
  grid: RowGrid,
  rollUp: boolean,
  figure: number,
  { bits, perStep, by }: { readonly bits: number; readonly perStep: number; readonly by: Aggregation },
): (number | null)[] {
  const { codes, columns, length } = grid;
  const column = rollUp ? 1 + 3 * figure + (by === "max" ? 1 : by === "min" ? 2 : 0) : figure;
  const values: (number | null)[] = [];
  const sorted: number[] = [];
  for (let first = 0; first < length; first += perStep) {
    let weight = 0;
    let sum = 0;
    let greatest = 0;
    let least: number = absent;
    sorted.length = 0;
    for (let row = first; row < Math.min(length, first + perStep); row += 1) {
      const samples = rollUp ? (codes[row * columns] ?? 0) : 1;
      const code = codes[row * columns + column] ?? absent;
      if (samples === 0 || code === absent) continue;
      weight += samples;
      sum += quantaOf(code, bits) * samples;
      if (code > greatest) greatest = code;
      if (code < least) least = code;
      if (typeof by === "object") sorted.push(code);
    }
    if (weight === 0) values.push(null);
    else if (by === "mean") values.push(sum / weight);
    else if (by === "max") values.push(quantaOf(greatest, bits));
    else if (by === "min") values.push(quantaOf(least, bits));
    else values.push(quantaOf(nearestRank(sorted, by.percentile), bits));
  }
  return values;
}

/** The least code that so many per cent of them do not exceed. */
function nearestRank(codes: number[], percentile: number): number {
  codes.sort((left, right) => left - right);
  return codes[Math.max(0, Math.ceil((percentile / 100) * codes.length) - 1)] ?? absent;
}
