import assert from "node:assert/strict";
import { test } from "node:test";
import { consolidationDefaults } from "./consolidation-input.ts";
import { gib, host, machine } from "./consolidation.test-support.ts";
import { forecast } from "./forecast.ts";
import { HostLoad } from "./host-load.ts";

const options = { ...consolidationDefaults, windowSamples: 4, recentSamples: 4, unseenSpread: 0 };
const planned = (demand: readonly number[]) => {
  const of = machine("m", "h", demand);
  return { machine: of, forecast: forecast(of, options) };
};
const day = planned([100, 300, 100, 300]);
const alsoDay = planned([100, 300, 100, 300]);
const night = planned([300, 100, 300, 100]);

test("machines that rise together need room for both rises, machines that take turns for none", () => {
  const load = new HostLoad(host("h"), 4);
  load.add(day);
  assert.equal(load.need(2), 200 + 2 * 100);
  assert.equal(load.need(2, alsoDay.forecast), 400 + 2 * 200);
  assert.equal(load.need(2, night.forecast), 400);
  load.add(night);
  assert.equal(load.need(2), 400);
});

test("what leaves is counted no more", () => {
  const load = new HostLoad(host("h"), 4);
  load.add(day);
  load.add(night);
  load.remove(night);
  assert.equal(load.need(1), 200 + 100);
  assert.equal(load.now, 300);
  assert.equal(load.memoryBytes, gib);
  assert.deepEqual([...load.machines], [day]);
});

test("the draw is that of the expected level", () => {
  const load = new HostLoad(host("h", { powerCurve: [100, 200] }), 4);
  load.add(planned([5000]));
  assert.equal(load.watts(), 150);
  assert.equal(load.watts(2500), 175);
});
