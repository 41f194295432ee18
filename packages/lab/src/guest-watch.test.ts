import assert from "node:assert/strict";
import { test } from "node:test";
import { GuestJudge } from "./guest-watch.ts";

/** Each row is one look: CPU time of the copies on hosts a and b, ms; `null`: no such process. */
function judge(...looks: readonly (readonly [a: number | null, b: number | null])[]): readonly string[] {
  const judge = new GuestJudge();
  for (const [a, b] of looks) {
    judge.look([
      ...(a === null ? [] : [{ process: "1@1", host: "a", uuid: "m", cpuMs: a }]),
      ...(b === null ? [] : [{ process: "2@2", host: "b", uuid: "m", cpuMs: b }]),
    ]);
  }
  return judge.violations;
}

test("a live migration is no second copy: one stands still when the other runs", () => {
  assert.deepEqual(judge([0, null], [50, null], [90, 1], [140, 2], [150, 60], [150, 150], [151, 250], [null, 300]), []);
});

test("a migration that is given up is no second copy", () => {
  assert.deepEqual(judge([0, null], [50, 1], [90, 2], [140, 2], [190, null], [290, null]), []);
});

test("two busy copies at a time are seen", () => {
  assert.match(judge([0, 0], [50, 50], [100, 100]).join(), /ran on a and on b at a time/);
});

test("a copy that goes on after the other has taken over is seen, idle as both may be", () => {
  assert.match(judge([0, null], [50, 0], [51, 60], [52, 62], [54, 64], [57, 70]).join(), /ran on a after another copy of it had run/);
});

test("two idle copies, which run a few ms in many looks, are seen", () => {
  const looks = Array.from({ length: 40 }, (_, index) => [index * 0.5, index * 0.4] as const);
  assert.match(judge(...looks).join(), /after another copy of it had run/);
});

test("a machine that ended on one host and starts on another is no second copy", () => {
  assert.deepEqual(judge([0, null], [50, null], [null, 0], [null, 70], [0, null], [80, null]), []);
});
