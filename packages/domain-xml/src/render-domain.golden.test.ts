/** One golden file a feature, under golden/. `SHEAF_UPDATE_GOLDEN=1` writes them; the difference is then reviewed like code. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { renderDomain } from "./render-domain.ts";
import { features } from "./testing/inputs.ts";

const directory = join(import.meta.dirname, "..", "golden");
const update = process.env["SHEAF_UPDATE_GOLDEN"] === "1";
if (update) mkdirSync(directory, { recursive: true });

for (const [name, input] of Object.entries(features)) {
  test(`golden: ${name}`, () => {
    const file = join(directory, `${name}.xml`);
    const xml = renderDomain(input);
    if (update) writeFileSync(file, xml);
    // A missing file throws: it is never made in passing.
    assert.equal(xml, readFileSync(file, "utf8"));
  });
}

test("every golden file has its feature", () => {
  assert.deepEqual(
    readdirSync(directory).sort(),
    Object.keys(features)
      .map((name) => `${name}.xml`)
      .sort(),
  );
});
