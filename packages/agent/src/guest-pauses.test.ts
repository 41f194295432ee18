import assert from "node:assert/strict";
import { test } from "node:test";
import { GuestPauses, seldomMs, soonMs } from "./guest-pauses.ts";

test("a guest is asked soon after news, and ever more rarely while there is none", () => {
  const pauses = new GuestPauses();
  assert.equal(pauses.after("a", true), soonMs);
  assert.equal(pauses.after("a", false), 2 * soonMs);
  for (let asked = 0; asked < 10; asked += 1) pauses.after("a", false);
  assert.equal(pauses.after("a", false), seldomMs);
  assert.equal(pauses.after("b", false), soonMs);
  assert.equal(pauses.after("a", true), soonMs);
  pauses.after("a", false);
  pauses.forget("a");
  assert.equal(pauses.after("a", false), soonMs);
});
