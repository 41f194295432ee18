/** Runs every folder of `scenarios/` and compares its log; SHEAF_UPDATE_GOLDEN=1 writes the logs anew, to be read before they are kept. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runScenario } from "./scenario.ts";

const root = join(import.meta.dirname, "../scenarios");

for (const name of readdirSync(root).toSorted()) {
  test(`scenario ${name}`, { timeout: 60_000 }, async () => {
    const file = (each: string): string => join(root, name, each);
    assert.match(readFileSync(file("README.md"), "utf8"), /^# \S.*\n\n\S/, "its README has a title and says what it shows");
    const { log } = await runScenario(readFileSync(file("commands"), "utf8"));
    if (process.env["SHEAF_UPDATE_GOLDEN"] === "1") writeFileSync(file("log"), log);
    assert.ok(existsSync(file("log")), `${name} has no log yet: SHEAF_UPDATE_GOLDEN=1 writes it`);
    assert.equal(log, readFileSync(file("log"), "utf8"));
  });
}
