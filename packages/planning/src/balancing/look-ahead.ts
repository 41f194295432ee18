/** The hours to come of a cluster's hosts and machines, as far as their habits are known, for a balancing problem: those that decide. Pure. */
import type { BalanceHost, BalanceMachine } from "./balance-problem.ts";
import { decisiveHours, hourMs, hoursAhead } from "./forecast-use.ts";
import type { UseBook } from "./use-book.ts";

export interface AheadOf {
  readonly hosts: readonly BalanceHost[];
  readonly machines: readonly BalanceMachine[];
}

export interface LookingAhead extends AheadOf {
  /** How many hours are looked at. */
  readonly hoursAhead: number;
  /** When they begin, ms since the epoch. */
  readonly at: readonly number[];
}

/** The more are looked at the longer a plan takes; a day has a few hours that decide. */
const mostHours = 4;

/** @param now ms since the epoch @param hours how far; 0: not at all */
export function lookAhead({ hosts, machines }: AheadOf, book: Pick<UseBook, "habit">, now: number, hours: number): LookingAhead {
  const nothing = { hosts, machines, hoursAhead: 0, at: [] };
  if (hours === 0) return nothing;
  const sums = hosts.map(({ usedCpus }) => new Float64Array(hours).fill(usedCpus));
  const present = hosts.map(({ usedCpus }) => usedCpus);
  let known = false;
  const ahead = machines.map(({ id, host, usedCpus, promisedCpus }) => {
    const habit = book.habit(id);
    known ||= habit !== undefined;
    const expected = habit ? hoursAhead(habit, now, usedCpus, hours, promisedCpus) : undefined;
    const sum = sums[host];
    if (sum) for (let hour = 0; hour < hours; hour += 1) sum[hour] = (sum[hour] ?? 0) + (expected?.[hour] ?? usedCpus);
    present[host] = (present[host] ?? 0) + usedCpus;
    return expected;
  });
  if (!known) return nothing;
  const perCpu = hosts.map(({ cpus }) => 1 / Math.max(cpus, Number.MIN_VALUE));
  const shares = sums.map((sum, host) => sum.map((use) => use * (perCpu[host] ?? 0)));
  const chosen = decisiveHours(
    shares,
    present.map((use, host) => use * (perCpu[host] ?? 0)),
    mostHours,
  );
  const pick = (of: Float64Array | undefined, otherwise: number): Float64Array => Float64Array.from(chosen, (hour) => of?.[hour] ?? otherwise);
  return {
    hosts,
    machines: machines.map((machine, index) => ({ ...machine, aheadCpus: pick(ahead[index], machine.usedCpus) })),
    hoursAhead: chosen.length,
    at: chosen.map((hour) => (Math.floor(now / hourMs) + 1 + hour) * hourMs),
  };
}
