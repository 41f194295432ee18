/** Figures of samples. Randomness comes from a fixed seed: the same samples give the same bound. */
import { seededRandom } from "./random.ts";

/** @param share 0.5 is the median; the sample itself, never between two */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[(sorted.length >> 1) - 1] ?? Number.NaN) + upper) / 2;
}

export const spread = (samples: readonly number[]) => ({
  count: samples.length,
  median: Number(median(samples).toFixed(2)),
  p90: Number(quantile(samples, 0.9).toFixed(2)),
  p99: Number(quantile(samples, 0.99).toFixed(2)),
  longest: Number(quantile(samples, 1).toFixed(2)),
});

export interface Pair {
  readonly ours: number;
  readonly theirs: number;
}

/** How many times as long ours took as theirs: the median over the pairs, so that what disturbs the machine for a while disturbs both sides. */
export const medianRatio = (pairs: readonly Pair[]): number => median(pairs.map(({ ours, theirs }) => ours / theirs));

/** One-sided upper bound of the median ratio with 95 % confidence, by the bootstrap's percentiles (Efron 1979). */
export function upperBound(pairs: readonly Pair[], rounds = 10_000): number {
  const random = seededRandom(0x9e3779b9);
  const drawn = (): Pair[] => pairs.map((pair) => pairs[Math.floor(random() * pairs.length)] ?? pair);
  return quantile(
    Array.from({ length: rounds }, () => medianRatio(drawn())),
    0.95,
  );
}
