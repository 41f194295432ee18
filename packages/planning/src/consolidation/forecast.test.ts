import assert from "node:assert/strict";
import { test } from "node:test";
import { consolidationDefaults } from "./consolidation-input.ts";
import { machine } from "./consolidation.test-support.ts";
import { forecast } from "./forecast.ts";

const options = { ...consolidationDefaults, windowSamples: 4, recentSamples: 2, unseenSpread: 0.1, unseenSamples: 4 };

test("the level is half the window's mean and half that of the newest samples; older ones do not count", () => {
  const { level, now, peak, window } = forecast(machine("a", "h", [9999, 100, 200, 300, 600]), options);
  assert.equal(level, (300 + 450) / 2);
  assert.equal(now, 600);
  assert.equal(peak, 600);
  assert.deepEqual([...window], [100, 200, 300, 600]);
});

test("where few samples are known, their mean stands for the others, and the machine's size for what it may still ask for", () => {
  const known = (demand: number[]) => forecast(machine("a", "h", demand, { cpuMillicores: 2000 }), options);
  assert.deepEqual([...known([100, 300]).window], [200, 200, 100, 300]);
  assert.equal(known([]).unseenVariance, 200 ** 2);
  assert.equal(known([1, 1, 1, 1]).unseenVariance, 200 ** 2 / 2);
  assert.equal(known([]).level, 0);
});

const hourly = { ...options, sampleSeconds: 3600, horizonSeconds: 2 * 3600 };
const day = (at9: number): number[] => Array.from({ length: 24 }, (_, hour) => (hour >= 9 && hour < 12 ? at9 : 100));

test("from the second day on, a rise at this hour of the days before is expected again", () => {
  const until9 = day(900).slice(0, 9);
  assert.equal(forecast(machine("a", "h", [...day(900), ...until9]), hourly).level, 100, "one day is no habit");
  assert.equal(forecast(machine("a", "h", [...day(900), ...day(900), ...until9]), hourly).level, 900);
  assert.equal(forecast(machine("a", "h", [...day(500), ...day(900), ...until9]), hourly).level, 100 + (400 + 800) / 2);
});

test("a fall at this hour is not counted on", () => {
  const until12 = day(900).slice(0, 12);
  assert.equal(forecast(machine("a", "h", [...day(900), ...day(900), ...until12]), hourly).level, (100 + 3 * 900) / 4 / 2 + 450);
});

test("from the third week on, it is the hour of the week that counts", () => {
  const week = [...Array.from({ length: 5 }, () => day(900)), day(100), day(100)].flat();
  const fridayNine = [...week, ...week, ...week.slice(0, 4 * 24 + 9)];
  const saturdayNine = [...week, ...week, ...week.slice(0, 5 * 24 + 9)];
  assert.equal(forecast(machine("a", "h", fridayNine), hourly).level, 900);
  assert.equal(forecast(machine("a", "h", saturdayNine), hourly).level, 100);
});
