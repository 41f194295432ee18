import assert from "node:assert/strict";
import { test } from "node:test";
import { atLeast, atMost, type Outcome } from "./outcome.ts";
import { allMet, readOutcome, table, type Result } from "./report.ts";

const result = (more: Partial<Result>): Result => ({ benchmark: "b", tookMs: 1, loadBefore: 0, ...more });
const outcome = (...targets: Outcome["targets"]): Outcome => ({ targets, details: {} });

test("a target is met by its own figure, never by one that could not be measured", () => {
  assert.equal(atMost("a", 25, 25, "ms").met, true);
  assert.equal(atMost("a", 25.001, 25, "ms").met, false, "not rounded before it is judged");
  assert.equal(atLeast("a", 999.9, 1000, "/s").met, false);
  assert.equal(atMost("a", Number.NaN, 25, "ms").met, false);
  assert.equal(atLeast("a", Number.NaN, 25, "ms").met, false);
});

test("one unmet target, or one benchmark that did not run, fails the whole", () => {
  const good = result({ outcome: outcome(atMost("a", 1, 2, "ms")) });
  assert.equal(allMet([good]), true);
  assert.equal(allMet([good, result({ outcome: outcome(atMost("a", 3, 2, "ms")) })]), false);
  assert.equal(allMet([good, result(readOutcome("", 1))]), false);
  assert.equal(allMet([good, result(readOutcome("", "SIGTERM"))]), false);
});

test("a benchmark that breaks after its figures has failed", () => {
  const text = JSON.stringify(outcome(atMost("a", 1, 2, "ms")));
  assert.equal(readOutcome(text, 0).problem, undefined);
  assert.equal(readOutcome(text, 1).problem, "it ended with 1");
  const unmet = JSON.stringify(outcome(atMost("a", 3, 2, "ms")));
  assert.equal(readOutcome(unmet, 1).problem, undefined);
  assert.equal(readOutcome(unmet, "SIGKILL").problem, "it ended with SIGKILL");
});

test("the table has a row for each target and each failure", () => {
  const shown = table([
    result({ benchmark: "api", outcome: outcome(atLeast("reads", 6000.4, 5000, "/s"), atMost("p99", 30, 25, "ms")) }),
    result({ benchmark: "site", problem: "it ended with 1 and no figures" }),
    result({ benchmark: "store", outcome: outcome() }),
  ]).split("\n");
  assert.match(shown[1] ?? "", /^api {8}reads +6000\.4 \/s {2}≥ 5000 \/s {2}met$/);
  assert.match(shown[2] ?? "", /p99 +30 ms +≤ 25 ms +NOT MET$/);
  assert.match(shown[3] ?? "", /^site +FAILED: it ended with 1 and no figures$/);
  assert.match(shown[4] ?? "", /^store +\(no target/);
});
