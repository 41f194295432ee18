import assert from "node:assert/strict";
import { test } from "node:test";
import { numberListText, parseNumberList } from "./number-list.ts";

test("numbers are read and written as ranges", () => {
  assert.deepEqual(parseNumberList("0-3,8, 10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
  assert.deepEqual(parseNumberList(""), []);
  assert.deepEqual(parseNumberList("x,4"), [4]);
  assert.equal(numberListText([8, 2, 1, 0, 3, 3]), "0-3,8");
  assert.equal(numberListText([]), "");
});
