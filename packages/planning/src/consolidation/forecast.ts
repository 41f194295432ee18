/** What a machine is expected to ask for, from its own past alone. Called by the consolidation planner. Pure. */
import type { ConsolidationMachine, ConsolidationOptions } from "./consolidation-input.ts";

export interface Forecast {
  /** Expected over the horizon, millicores. */
  readonly level: number;
  /** The newest sample. */
  readonly now: number;
  /** The newest `windowSamples` samples, oldest first; their mean stands for those that are missing. */
  readonly window: Float64Array;
  /** The highest of them. */
  readonly peak: number;
  /** Variance on top of the window's, millicores²: for what so few samples do not tell. */
  readonly unseenVariance: number;
}

const daySeconds = 86_400;

export function forecast({ demand, cpuMillicores }: ConsolidationMachine, options: ConsolidationOptions): Forecast {
  const { windowSamples, recentSamples, unseenSamples } = options;
  const newest = demand.subarray(Math.max(0, demand.length - windowSamples));
  const mean = average(newest);
  const window = new Float64Array(windowSamples).fill(mean);
  window.set(newest, windowSamples - newest.length);
  const spread = options.unseenSpread * cpuMillicores;
  return {
    level: (mean + average(newest.subarray(-recentSamples))) / 2 + expectedRise(demand, options),
    now: demand.at(-1) ?? 0,
    window,
    peak: newest.reduce((highest, value) => Math.max(highest, value), 0),
    unseenVariance: (spread * spread * unseenSamples) / (newest.length + unseenSamples),
  };
}

/**
 * By how much it asked for more over the horizon than over the window before, at this time of the day (of the week, once two weeks are
 * known), on average of the days (weeks) before. Never less than 0: room that it may need again is not given away on the strength of a
 * habit. 0 until two days are known.
 */
function expectedRise(demand: Float64Array, { sampleSeconds, horizonSeconds, windowSamples }: ConsolidationOptions): number {
  const perDay = Math.round(daySeconds / sampleSeconds);
  const period = demand.length >= 14 * perDay ? 7 * perDay : perDay;
  if (demand.length < 2 * period) return 0;
  const ahead = Math.min(period, Math.round(horizonSeconds / sampleSeconds));
  let rise = 0;
  let periods = 0;
  for (let then = demand.length - period; then >= windowSamples; then -= period) {
    rise += average(demand.subarray(then, then + ahead)) - average(demand.subarray(then - windowSamples, then));
    periods += 1;
  }
  return periods === 0 ? 0 : Math.max(0, rise / periods);
}

const average = (values: Float64Array): number => (values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length);
