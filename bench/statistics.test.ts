import assert from "node:assert/strict";
import { test } from "node:test";
import { median, medianRatio, quantile, upperBound } from "./statistics.ts";

test("medians and quantiles are those of the samples, in whatever order they came", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(quantile([5, 1, 4, 2, 3], 0.99), 5);
  assert.ok(Number.isNaN(median([])));
});

test("the bound of a ratio lies above its median, and near it where all pairs agree", () => {
  const even = Array.from({ length: 20 }, () => ({ ours: 11, theirs: 10 }));
  assert.equal(upperBound(even), 1.1);
  const wide = Array.from({ length: 20 }, (_, index) => ({ ours: 8 + (index % 5), theirs: 10 }));
  assert.equal(medianRatio(wide), 1);
  const bound = upperBound(wide);
  assert.ok(bound > 1 && bound < 1.2, `${bound}`);
  assert.equal(upperBound(wide), bound, "the same samples give the same bound");
});
