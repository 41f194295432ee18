/** Times of the week, by the clocks of a place: when something may be done that disturbs. */
import { z } from "zod";

export const weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Weekday = (typeof weekdays)[number];

const TimeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of the day such as 22:00");

export const TimeWindow = z.strictObject({
  /** On which it begins; absent: every day. */
  days: z.array(z.enum(weekdays)).min(1).max(7).optional(),
  from: TimeOfDay,
  /** Not later than `from`: on the day after. */
  to: TimeOfDay,
  /** Whose clocks count, such as Europe/Berlin. */
  timeZone: z.string().max(64).refine(isTimeZone, "must be a time zone's name such as UTC, Europe/Berlin or Asia/Shanghai").default("UTC"),
});
export type TimeWindow = z.infer<typeof TimeWindow>;

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}
