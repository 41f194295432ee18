/**
 * Whether the hypervisor model keeps to what hosts do: figures measured on the lab's hosts against the model's, within stated factors.
 * Pure; `e2e/calibration.lab.test.ts` measures and calls it.
 */
import type { HypervisorTimes } from "./hypervisor-model.ts";

/** Samples of each figure; times in ms. */
export interface LabFigures {
  readonly define: readonly number[];
  readonly start: readonly number[];
  readonly boot: readonly number[];
  readonly shutdown: readonly number[];
  readonly finish: readonly number[];
  readonly migrationBytesPerSecond: readonly number[];
  readonly dirtyShare: readonly number[];
}

/**
 * How far the lab's figure may lie outside the model's range, as a factor. The lab's guests are as small as can be (128 MiB, nothing to
 * stop, little memory that is not zero) and, without hardware acceleration, slow to boot; the model's are ordinary ones on a host of their own.
 */
export const labFactors: Readonly<Record<keyof LabFigures, number>> = {
  define: 4,
  start: 3,
  boot: 3,
  shutdown: 8,
  finish: 3,
  migrationBytesPerSecond: 10,
  dirtyShare: 2,
};

/** @returns a sentence for each figure of which the model is too far off, or of which nothing was measured */
export function disagreements(times: HypervisorTimes, lab: LabFigures): string[] {
  return ranges(times).flatMap(([name, low, high]) => {
    const samples = lab[name].toSorted((x, y) => x - y);
    const median = samples[samples.length >> 1];
    if (median === undefined) return [`${name}: nothing was measured`];
    const factor = labFactors[name];
    const [least, most] = [low / factor, high * factor];
    // What else the machine does makes samples slower, and none faster: too slow is what is so even at its best, too fast what is so as a rule.
    const [smallest, largest] = [samples[0] ?? median, samples.at(-1) ?? median];
    const [atMost, atLeast] = name === "migrationBytesPerSecond" ? [median, largest] : name === "dirtyShare" ? [median, median] : [smallest, median];
    if (atLeast >= least && atMost <= most) return [];
    return [
      `${name}: the lab's figure is ${rounded(atLeast < least ? atLeast : atMost)}, the model says ${rounded(low)} to ${rounded(high)} and may be off ${factor} times`,
    ];
  });
}

function ranges(times: HypervisorTimes): readonly (readonly [name: keyof LabFigures, low: number, high: number])[] {
  return [
    // Those that are one number take up to twice as long (`HypervisorModel`).
    ["define", times.define, times.define * 2],
    ["start", times.start, times.start * 2],
    ["boot", ...times.boot],
    ["shutdown", ...times.shutdown],
    ["finish", ...times.finish],
    ["migrationBytesPerSecond", times.migrationBytesPerSecond, times.migrationBytesPerSecond],
    ["dirtyShare", ...times.dirtyShare],
  ];
}

const rounded = (figure: number): number => Number(figure.toPrecision(3));
