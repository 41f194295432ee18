import assert from "node:assert/strict";
import { test } from "node:test";
import { migrationStates } from "./migrate.ts";
import { migrationSteps } from "./migration-steps.ts";

const told = (state: (typeof migrationStates)[number]): string =>
  migrationSteps(state)
    .map((step) => step.state.charAt(0))
    .join("");

test("each state of the way there is a step under way, those before it done", () => {
  assert.deepEqual(
    ["requested", "begun", "prepared", "performed", "switched", "settling", "finished", "confirmed"].map((state) => told(state as "begun")),
    ["rwwww", "rwwww", "drwww", "ddrww", "dddrw", "dddrw", "ddddr", "ddddd"],
  ); // names of the list above
});

test("on the way back nothing counts as done", () => {
  for (const state of ["aborting", "withdrawing", "restoring", "undone", "refused"] as const) assert.equal(told(state), "wwwww");
  assert.equal(migrationStates.length, 13);
});
