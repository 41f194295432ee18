import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { createLogger } from "./pino-logger.ts";

it("writes one JSON object a line, with secrets blanked", () => {
  const directory = mkdtempSync(join(tmpdir(), "sheaf-log-"));
  const file = openSync(join(directory, "log"), "w");
  const logger = createLogger({ level: "info", fileDescriptor: file, fields: { part: "test" } });
  logger.debug({}, "not at this level");
  logger.child({ host: "h" }).warn({ password: "hunter2", body: { token: "sheaf_x" }, count: 1 }, "something\nhappened");
  closeSync(file);
  const text = readFileSync(join(directory, "log"), "utf8");
  rmSync(directory, { recursive: true });
  const { time, ...line } = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual(line, {
    level: "warn",
    part: "test",
    host: "h",
    password: "(secret)",
    body: { token: "(secret)" },
    count: 1,
    msg: "something\nhappened",
  });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
});
