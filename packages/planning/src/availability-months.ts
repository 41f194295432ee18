/** Time booked by calendar month (UTC). Used by availability.ts and availability-sum.ts. Pure. */
import type { AvailabilityAccount, AvailabilityMonth, OutageCause } from "@sheaf/model";

/** A year and the month under way. */
export const monthsKept = 13;
const outagesKept = 20;

export const monthOf = (at: number): string => new Date(at).toISOString().slice(0, 7);
/** @param month `2026-11` @returns its first ms, and that of the next */
export function monthBounds(month: string): { readonly from: number; readonly to: number } {
  const year = Number(month.slice(0, 4));
  const index = Number(month.slice(5)) - 1;
  return { from: Date.UTC(year, index), to: Date.UTC(year, index + 1) };
}

export const emptyMonth = (month: string): AvailabilityMonth => ({ month, upMs: 0, downMs: 0, offMs: 0, unknownMs: 0, causes: {}, outages: [] });

/** @param to before `from`: taken off instead. An outage without `detail` is only counted. */
export function addTime(
  months: readonly AvailabilityMonth[],
  state: AvailabilityAccount["state"],
  from: number,
  to: number,
  outage?: { readonly cause: OutageCause; readonly detail?: string },
): AvailabilityMonth[] {
  const found = new Map(months.map((month) => [month.month, month]));
  const [begin, end, sign] = from <= to ? [from, to, 1] : [to, from, -1];
  for (let at = begin; at < end;) {
    const name = monthOf(at);
    const until = Math.min(end, monthBounds(name).to);
    const ms = sign * (until - at);
    const month = found.get(name) ?? emptyMonth(name);
    const field = `${state}Ms` as const;
    const added = { ...month, [field]: month[field] + ms };
    // An outage over midnight of the month's end is one in each.
    found.set(name, outage ? withOutage(added, outage, at, until) : added);
    at = until;
  }
  return [...found.values()].toSorted((a, b) => (a.month < b.month ? -1 : 1)).slice(-monthsKept);
}

function withOutage(
  month: AvailabilityMonth,
  { cause, detail }: { cause: OutageCause; detail?: string },
  from: number,
  to: number,
): AvailabilityMonth {
  const before = month.causes[cause] ?? { count: 0, ms: 0 };
  const causes = { ...month.causes, [cause]: { count: before.count + 1, ms: before.ms + (to - from) } };
  return { ...month, causes, outages: detail === undefined ? month.outages : [...month.outages, { from, to, cause, detail }].slice(-outagesKept) };
}
