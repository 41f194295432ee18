import assert from "node:assert/strict";
import { test } from "node:test";
import { migrationStates, migrationTable } from "@sheaf/planning";
import { killPoints, migrationTransitions, rotatedKillPoints, transitionName, ways } from "./kill-points.ts";

test("every transition of the migration's table has its case, and no case is of a transition that is not there", () => {
  assert.deepEqual(Object.keys(ways).toSorted(), migrationTransitions().map(transitionName).toSorted());
});

test("a transition that the table gains is found", () => {
  const table = {
    ...migrationTable,
    finished: { ...migrationTable.finished, on: { ...migrationTable.finished.on, cancel: { to: "aborting" as const } } },
  };
  const gained = migrationTransitions(table).map(transitionName);
  assert.deepEqual(
    gained.filter((name) => ways[name] === undefined),
    ["finished → aborting"],
  );
});

test("a nudge stands on a transition that is there", () => {
  const known = new Set(migrationTransitions().map(transitionName));
  for (const way of Object.values(ways)) if (way.nudge) assert.ok(known.has(way.nudge.at), way.nudge.at);
});

test("kill points are all transitions times two moments times four victims; turns cover each transition each time and all of them in eight", () => {
  const all = new Set(killPoints().map((point) => JSON.stringify(point)));
  assert.equal(all.size, migrationTransitions().length * 8);
  const played = new Set<string>();
  for (let first = 0; first < 8; first += 1) {
    const points = rotatedKillPoints(first);
    assert.equal(new Set(points.map(transitionName)).size, migrationTransitions().length);
    assert.deepEqual(new Set(points.map(({ to }) => to)), new Set(migrationStates.filter((state) => state !== "requested")));
    for (const point of points) played.add(JSON.stringify(point));
  }
  assert.deepEqual(played, all);
});
