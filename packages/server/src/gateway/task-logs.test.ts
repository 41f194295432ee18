import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { TaskLogs } from "./task-logs.ts";

test("keeps the newest lines of the tasks used last, whatever is told", () => {
  const logs = new TaskLogs(new SimulatedClock(), 2);
  for (let line = 0; line < 600; line += 1) logs.append("one", `line ${line}`, line);
  const lines = logs.reader.lines("one");
  assert.equal(lines.length, 500);
  assert.deepEqual(lines.at(-1), { at: 599, text: "line 599" });
  logs.append("two", "x".repeat(10_000));
  assert.equal(logs.reader.lines("two")[0]?.text.length, 2000);
  logs.append("three", "makes room");
  assert.deepEqual(logs.reader.lines("one"), []);
});

test("newer figures replace older ones of the same name; what is too large is left out", () => {
  const logs = new TaskLogs(new SimulatedClock());
  assert.equal(logs.reader.progress("task"), undefined);
  logs.progress("task", { bytes: 1, rate: 2 });
  logs.progress("task", { bytes: 5 });
  logs.progress("task", { junk: "x".repeat(20_000) });
  assert.deepEqual(logs.reader.progress("task"), { bytes: 5, rate: 2 });
});
