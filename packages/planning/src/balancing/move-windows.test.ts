import assert from "node:assert/strict";
import { test } from "node:test";
import { TimeWindow } from "@sheaf/model";
import { closedWindows } from "./move-windows.ts";

const window = (fields: Record<string, unknown>): TimeWindow => TimeWindow.parse(fields);
const at = (iso: string): number => Date.parse(iso);

test("a window is open by its place's clocks, over midnight as well, and else it is said when it opens next", () => {
  const night = window({ days: ["sat"], from: "22:00", to: "04:00", timeZone: "Europe/Berlin" });
  // Berlin is two hours ahead in summer, one in winter.
  for (const [when, expected] of [
    ["2026-07-04T19:59:00Z", "the window opens Sat 22:00 (Europe/Berlin)"],
    ["2026-07-04T20:00:00Z", null],
    ["2026-07-05T01:59:00Z", null],
    ["2026-07-05T02:00:00Z", "the window opens Sat 22:00 (Europe/Berlin)"],
    ["2026-07-06T21:00:00Z", "the window opens Sat 22:00 (Europe/Berlin)"],
    ["2026-01-03T20:59:00Z", "the window opens Sat 22:00 (Europe/Berlin)"],
    ["2026-01-03T21:00:00Z", null],
  ] as const)
    assert.equal(closedWindows([night], at(when)), expected, when);
});

test("of several the first to open is told; none means any time; a window of all day is always open", () => {
  const now = at("2026-11-25T12:30:30Z"); // a Wednesday
  const windows = [window({ days: ["sun"], from: "02:00", to: "05:00" }), window({ days: ["thu", "fri"], from: "01:15", to: "03:00" })];
  assert.equal(closedWindows(windows, now), "the window opens Thu 01:15 (UTC)");
  assert.equal(closedWindows([...windows, window({ from: "12:00", to: "13:00" })], now), null);
  assert.equal(closedWindows([], now), null);
  assert.equal(closedWindows([window({ from: "00:00", to: "00:00" })], now), null);
  assert.equal(closedWindows([window({ days: ["wed"], from: "12:00", to: "12:30" })], now), "the window opens Wed 12:00 (UTC)");
});

test("clocks that are changed meanwhile do not shift when it opens", () => {
  const early = window({ days: ["sun"], from: "05:00", to: "06:00", timeZone: "Europe/Berlin" });
  // Summer time ends on Sunday, 25 October 2026, at 3:00.
  assert.equal(closedWindows([early], at("2026-10-24T20:00:00Z")), "the window opens Sun 05:00 (Europe/Berlin)");
  assert.equal(closedWindows([early], at("2026-10-25T03:59:00Z")), "the window opens Sun 05:00 (Europe/Berlin)");
  assert.equal(closedWindows([early], at("2026-10-25T04:00:00Z")), null);
});

test("only what is a window is taken", () => {
  for (const wrong of [
    { from: "24:00", to: "01:00" },
    { from: "1:00", to: "02:00" },
    { from: "01:00", to: "02:00", timeZone: "Mars/Base" },
    { days: [], from: "01:00", to: "02:00" },
  ])
    assert.equal(TimeWindow.safeParse(wrong).success, false, JSON.stringify(wrong));
});
