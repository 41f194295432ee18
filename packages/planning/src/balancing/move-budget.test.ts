import assert from "node:assert/strict";
import { test } from "node:test";
import { MoveBudget } from "./move-budget.ts";

const minute = 60_000;
const now = 100 * minute;
const name = (host: string): string => host;

test("so many in any hour, and so many of one host, whichever end of the move it is", () => {
  const begun = [
    { from: "a", to: "b", at: 39 * minute }, // more than an hour ago
    { from: "a", to: "b", at: 50 * minute },
    { from: "c", to: "a", at: 70 * minute },
  ];
  const budget = new MoveBudget({ movesPerHour: 4, movesPerHostPerHour: 2 }, begun, now);
  assert.equal(budget.left, 2);
  assert.equal(budget.refusal({ from: "b", to: "a" }, name), "host a has had its 2 moves of this hour, the next may begin at 01:50 UTC");
  assert.equal(budget.refusal({ from: "b", to: "c" }, name), null);
  budget.spend({ from: "b", to: "c" });
  assert.equal(budget.refusal({ from: "b", to: "d" }, name), "host b has had its 2 moves of this hour, the next may begin at 01:50 UTC");
  budget.spend({ from: "d", to: "e" });
  assert.equal(budget.left, 0);
  assert.equal(budget.spent, "the cluster has had its 4 moves of this hour, the next may begin at 01:50 UTC");
  assert.equal(budget.refusal({ from: "x", to: "y" }, name), budget.spent);
});

test("without limits any may begin", () => {
  const begun = Array.from({ length: 1000 }, () => ({ from: "a", to: "b", at: now }));
  const budget = new MoveBudget({}, begun, now);
  assert.equal(budget.left, Infinity);
  assert.equal(budget.refusal({ from: "a", to: "b" }, name), null);
});
