/** Whether a cluster in automatic mode may move machines now, by the clocks of the places that its windows name; and when it may next. Pure. */
import { weekdays, type TimeWindow } from "@sheaf/model";

const minuteMs = 60_000;
const dayMinutes = 1440;

/** @param now ms since the epoch @returns `null`: moves may begin; else why not, with when they may */
export function closedWindows(windows: readonly TimeWindow[], now: number): string | null {
  if (windows.length === 0 || windows.some((window) => isOpen(window, now))) return null;
  const next = windows.map((window) => ({ window, at: opensAt(window, now) })).reduce((first, each) => (each.at < first.at ? each : first));
  const [day] = local(next.window.timeZone, next.at);
  return `the window opens ${capital(weekdays[day] ?? "")} ${next.window.from} (${next.window.timeZone})`;
}

function isOpen({ days, from, to, timeZone }: TimeWindow, now: number): boolean {
  const [day, minute] = local(timeZone, now);
  const [first, last] = [minutes(from), minutes(to)];
  const begins = (on: number): boolean => days === undefined || days.includes(weekdays[on] ?? "mon");
  if (first < last) return begins(day) && minute >= first && minute < last;
  return (begins(day) && minute >= first) || (begins((day + 6) % 7) && minute < last);
}

/** When it opens after `now`. */
function opensAt({ days, from, timeZone }: TimeWindow, now: number): number {
  const [day, minute] = local(timeZone, now);
  const wanted = minutes(from);
  for (let ahead = 0; ahead <= 7; ahead += 1) {
    if (days !== undefined && !days.includes(weekdays[(day + ahead) % 7] ?? "mon")) continue;
    const guess = now - (now % minuteMs) + (ahead * dayMinutes + wanted - minute) * minuteMs;
    // Clocks may be changed until then: by what it is off then.
    const [, seen] = local(timeZone, guess);
    const off = ((wanted - seen + dayMinutes / 2 + dayMinutes) % dayMinutes) - dayMinutes / 2;
    const at = guess + off * minuteMs;
    if (at > now) return at;
  }
  return Infinity;
}

/** Day of the week, 0: Monday, and minute of the day. */
function local(timeZone: string, at: number): readonly [day: number, minute: number] {
  const parts = formatOf(timeZone).formatToParts(at);
  const part = (type: Intl.DateTimeFormatPartTypes): string => parts.find((each) => each.type === type)?.value ?? "";
  const day = weekdays.findIndex((each) => each === part("weekday").toLowerCase());
  return [day, Number(part("hour")) * 60 + Number(part("minute"))];
}

const formatOf = (timeZone: string): Intl.DateTimeFormat =>
  new Intl.DateTimeFormat("en-GB", { timeZone, weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function minutes(time: string): number {
  const [hours = 0, rest = 0] = time.split(":").map(Number);
  return hours * 60 + rest;
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
