/** Availability of one month, of a machine or of many: (accounts, month, now) → figures. Called by the API. Pure. */
import type { AvailabilityAccount, AvailabilityMonth, AvailabilitySum, GoneAvailability, OutageCause } from "@sheaf/model";
import { withOpen } from "./availability.ts";
import { monthBounds, monthsKept } from "./availability-months.ts";

type GoneMonth = GoneAvailability["months"][number];

export interface AvailabilityFigures {
  readonly upMs: number;
  readonly downMs: number;
  readonly offMs: number;
  readonly unknownMs: number;
  readonly causes: AvailabilityMonth["causes"];
  /** up ÷ (up + down); `null` where neither was. */
  readonly percent: number | null;
  /** The same with all that is unknown taken for down. */
  readonly lowestPercent: number | null;
}

/** The month with what is under way in it; an outage that lasts has no end. `undefined`: it did not exist then. */
export function accountMonth(account: AvailabilityAccount, month: string, now: number): AvailabilityMonth | undefined {
  const { from, to } = monthBounds(month);
  if (account.since >= to) return account.months.find((one) => one.month === month);
  const end = Math.min(now, to);
  const until = account.since < end ? withOpen(account, end) : account.months;
  const found = until.find((one) => one.month === month);
  if (!found || now >= to || now < from || account.state !== "down" || account.since >= end) return found;
  return { ...found, outages: found.outages.map((one, index) => (index === found.outages.length - 1 ? { ...one, to: undefined } : one)) };
}

export function sumMonths(months: Iterable<AvailabilitySum>, month: string) {
  const sum = { month, upMs: 0, downMs: 0, offMs: 0, unknownMs: 0 };
  const causes: Partial<Record<OutageCause, { count: number; ms: number }>> = {};
  for (const one of months) {
    sum.upMs += one.upMs;
    sum.downMs += one.downMs;
    sum.offMs += one.offMs;
    sum.unknownMs += one.unknownMs;
    for (const [name, cause] of Object.entries(one.causes)) {
      const key = name as OutageCause; // the record's keys
      const before = causes[key] ?? { count: 0, ms: 0 };
      causes[key] = { count: before.count + cause.count, ms: before.ms + cause.ms };
    }
  }
  return { ...sum, causes };
}

export function figuresOf({ upMs, downMs, offMs, unknownMs, causes }: AvailabilitySum): AvailabilityFigures {
  const share = (down: number): number | null => (upMs + down > 0 ? (100 * upMs) / (upMs + down) : null);
  return { upMs, downMs, offMs, unknownMs, causes, percent: share(downMs), lowestPercent: share(downMs + unknownMs) };
}

/** A machine that is deleted leaves its months to its project. */
export function leaveAccount(gone: GoneAvailability | undefined, account: AvailabilityAccount, now: number): GoneAvailability {
  const months = new Map<string, GoneMonth>((gone?.months ?? []).map((month) => [month.month, month]));
  for (const month of withOpen(account, Math.max(now, account.since))) {
    const before = months.get(month.month);
    months.set(month.month, { ...sumMonths(before ? [before, month] : [month], month.month), machines: (before?.machines ?? 0) + 1 });
  }
  const kept = [...months.values()].toSorted((a, b) => (a.month < b.month ? -1 : 1)).slice(-monthsKept);
  return { project: account.project, months: kept };
}
