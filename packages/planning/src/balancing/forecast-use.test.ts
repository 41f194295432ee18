import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decisiveHours, hourMs, hoursAhead, weekProfile } from "./forecast-use.ts";

/** Days of a machine that uses so much at each hour (UTC) of each day. */
const history = (days: number, use: (hour: number, day: number) => number, firstHour = 0) => ({
  firstHour,
  values: Array.from({ length: days * 24 }, (_, index) => use((firstHour + index) % 24, Math.floor((firstHour + index) / 24))),
});

test("the hours of the days before are expected again, from the third day on", () => {
  const busyAtNine = (hour: number): number => (hour >= 9 && hour < 17 ? 4 : 1);
  assert.equal(weekProfile(history(1, busyAtNine)), null);
  const profile = weekProfile(history(2, busyAtNine));
  assert.ok(profile);
  // At 22:00 of some day: nine is eleven hours ahead.
  const ahead = hoursAhead(profile, (9 * 24 + 22) * hourMs, 1, 24);
  assert.deepEqual([...ahead.slice(9, 12)], [1, 4, 4]);
  assert.deepEqual([ahead[0], ahead[18], ahead[19]], [1, 1, 1]);
});

test("what happens on one day of the week is expected on that day alone, once two weeks are known", () => {
  const batchOnDay3 = (hour: number, day: number): number => (day % 7 === 3 && hour === 2 ? 8 : 1);
  const profile = weekProfile(history(15, batchOnDay3));
  assert.ok(profile);
  assert.equal(hoursAhead(profile, (22 * 24 + 20) * hourMs, 1, 24)[5], 1);
  assert.equal(hoursAhead(profile, (16 * 24 + 20) * hourMs, 1, 24)[5], 8, "day 17 is one of those");
});

test("a percentile of what was used at that hour: single days do not count, most do", () => {
  const once = weekProfile(history(6, (hour, day) => (day === 2 && hour === 9 ? 8 : 1)));
  assert.equal(once?.[9], 1);
  const often = weekProfile(history(6, (hour, day) => (day >= 2 && hour === 9 ? 8 : 1)));
  assert.equal(often?.[9], 8);
  assert.equal(
    weekProfile(
      history(10, (_hour, day) => day),
      100,
    )?.[167],
    9,
  );
});

test("what it is off its habit now fades within hours; hours in which nothing was measured are left out", () => {
  const profile = weekProfile(history(4, (_hour, day) => (day === 1 ? Number.NaN : 2)));
  assert.ok(profile);
  const ahead = hoursAhead(profile, 100 * 24 * hourMs, 6, 12);
  assert.deepEqual(
    [ahead[2], ahead[5], ahead[11]].map((use) => use?.toFixed(9)),
    ["4.000000000", "3.000000000", "2.250000000"],
  );
  assert.equal(hoursAhead(profile, 0, 6, 1, 3)[0], 3, "no more than it has");
  assert.equal(hoursAhead(profile, 0, 0, 3)[2]?.toFixed(9), "1.000000000");
});

test("who is a little early or late today is not off his habit", () => {
  const profile = weekProfile(history(4, (hour) => (hour >= 9 ? 4 : 1)));
  assert.ok(profile);
  for (const present of [1, 2, 4]) assert.equal(hoursAhead(profile, (10 * 24 + 8) * hourMs, present, 3)[2], 4);
  assert.ok((hoursAhead(profile, (10 * 24 + 8) * hourMs, 6, 3)[2] ?? 0) > 4);
});

test("forecasts are never less than nothing, never more than the most that was or is used", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 64, noNaN: true }), { minLength: 48, maxLength: 500 }),
      fc.double({ min: 0, max: 64, noNaN: true }),
      fc.nat(10_000),
      (values, present, hour) => {
        const profile = weekProfile({ firstHour: hour, values });
        assert.ok(profile);
        const most = Math.max(present, ...values.map(Math.fround));
        for (const use of hoursAhead(profile, hour * hourMs, present, 24)) assert.ok(use >= 0 && use <= most * 2 + 1e-6);
      },
    ),
  );
});

test("the hours that decide cover each host's peak", () => {
  const day = (peak: number): Float64Array => Float64Array.from({ length: 24 }, (_, hour) => (hour === peak ? 0.9 : 0.2));
  assert.deepEqual(decisiveHours([day(5), day(9), day(9)], [0.2, 0.2, 0.2], 4), [9, 5]);
  assert.deepEqual(decisiveHours([day(5), day(9), day(9)], [0.9, 0.9, 0.9], 4), [], "it is as bad now");
  assert.deepEqual(decisiveHours([day(5), day(9), day(12)], [0, 0, 0], 2).length, 2);
});
