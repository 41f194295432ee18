import assert from "node:assert/strict";
import { test } from "node:test";
import { wattsAt } from "./power-curve.ts";

test("power goes in straight lines between the points of the curve", () => {
  const curve = [86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117];
  const near = (load: number, watts: number): void => assert.ok(Math.abs(wattsAt(curve, load) - watts) < 1e-9, `${load}: ${wattsAt(curve, load)}`);
  near(0, 86);
  near(0.2, 92.6);
  near(0.25, 94.3); // half way from 92.6 to 96
  near(0.99, 116.7); // nine tenths of the way from 114 to 117
  near(1, 117);
});

test("a load beyond the ends counts as the nearer end", () => {
  assert.equal(wattsAt([100, 200], -0.5), 100);
  assert.equal(wattsAt([100, 200], 1.5), 200);
});
