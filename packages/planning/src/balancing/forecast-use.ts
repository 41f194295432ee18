/**
 * What a machine is expected to use in the hours to come, from its own past: (hourly figures of weeks) → a profile of the week; (profile, what it
 * uses now) → the hours ahead. A percentile of what it used at this hour of this weekday, once two weeks are known, else of the days before. For
 * balancing and consolidation, whose plans outlive the moment at which they are made. Pure.
 */

/** Means of hours, oldest first; `NaN` where nothing was measured. */
export interface HourlyUse {
  /** Hours since the epoch. */
  readonly firstHour: number;
  readonly values: ArrayLike<number>;
}

/** What was used in each hour of the week, UTC, beginning with the epoch's weekday: 168 figures. */
export type WeekProfile = Float32Array;

export const hourMs = 3_600_000;
const hoursADay = 24;
const hoursAWeek = 168;
/** Fewer days (or weeks) are no pattern. */
const leastSamples = 2;
/** Of the samples of one hour: more often less than it is used than more. */
const usualPercentile = 70;
/** What is off the profile now is, after so long, off by half. */
const halfLifeHours = 3;
const fading = 0.5 ** (1 / halfLifeHours);

/** @returns `null` while less than two days are known: then the present is the best forecast */
export function weekProfile({ firstHour, values }: HourlyUse, percentile = usualPercentile): WeekProfile | null {
  const byHour: number[][] = Array.from({ length: hoursAWeek }, () => []);
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index] ?? Number.NaN;
    if (!Number.isNaN(value)) byHour[(firstHour + index) % hoursAWeek]?.push(value);
  }
  const profile = new Float32Array(hoursAWeek);
  for (let hour = 0; hour < hoursAWeek; hour += 1) {
    let samples = byHour[hour] ?? [];
    if (samples.length < leastSamples) samples = byHour.filter((_, other) => other % hoursADay === hour % hoursADay).flat();
    if (samples.length < leastSamples) return null;
    profile[hour] = nearestRank(samples, percentile);
  }
  return profile;
}

/**
 * Use in each of the next `hours` hours, the first being the one after this.
 * @param now ms since the epoch
 * @param present what is used now: what it is off the profile fades
 * @param most that it can use
 */
export function hoursAhead(profile: WeekProfile, now: number, present: number, hours: number, most = Infinity): Float64Array {
  const hour = Math.floor(now / hourMs);
  // Within what this hour and those beside it know it is a little early or late, not off.
  const [before, here, after] = [hour + hoursAWeek - 1, hour, hour + 1].map((each) => profile[each % hoursAWeek] ?? 0) as [number, number, number]; // three in, three out
  const [least, greatest] = [Math.min(before, here, after), Math.max(before, here, after)];
  const off = present > greatest ? present - greatest : present < least ? present - least : 0;
  const expected = new Float64Array(hours);
  for (let ahead = 0, left = off * fading, at = (hour + 1) % hoursAWeek; ahead < hours; ahead += 1, left *= fading, at = (at + 1) % hoursAWeek) {
    const use = (profile[at] ?? 0) + left;
    expected[ahead] = use > 0 ? (use < most ? use : most) : 0;
  }
  return expected;
}

/**
 * The hours that decide: one after the other the hour in which most hosts are further above what the present and the chosen hours say of them. A
 * plan that is right in these is right in all of them, but for what mixing machines of different hours brings.
 * @param shares use ÷ offer by host, one figure an hour ahead
 * @param present use ÷ offer by host now
 * @returns indexes of hours, at most `most`
 */
export function decisiveHours(shares: readonly Float64Array[], present: readonly number[], most: number): number[] {
  const covered = Float64Array.from(present);
  const chosen: number[] = [];
  const hours = shares[0]?.length ?? 0;
  while (chosen.length < most) {
    let [best, bestGain] = [-1, negligible * shares.length];
    for (let hour = 0; hour < hours; hour += 1) {
      let gain = 0;
      for (let host = 0; host < shares.length; host += 1) gain += Math.max(0, (shares[host]?.[hour] ?? 0) - (covered[host] ?? 0));
      if (gain > bestGain) [best, bestGain] = [hour, gain];
    }
    if (best === -1) break;
    chosen.push(best);
    for (let host = 0; host < shares.length; host += 1) covered[host] = Math.max(covered[host] ?? 0, shares[host]?.[best] ?? 0);
  }
  return chosen;
}

/** A quarter of a percent of each host is no reason to look at another hour. */
const negligible = 0.0025;

function nearestRank(samples: number[], percentile: number): number {
  samples.sort((left, right) => left - right);
  return samples[Math.max(0, Math.ceil((percentile / 100) * samples.length) - 1)] ?? 0;
}
