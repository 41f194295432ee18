/** The pages in docs/flows name files: each must be there. A name without a folder stands in the folder of the one named before it in its line. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");
const folder = join(root, "docs/flows");

for (const page of readdirSync(folder))
  test(`docs/flows/${page} names files that are there`, () => {
    for (const line of readFileSync(join(folder, page), "utf8").split("\n")) {
      let beside = "";
      for (const [, name = ""] of line.matchAll(/`([a-z][\w./-]*(?:\.(?:ts|md|json)|packages\/[\w/-]+))`/g)) {
        const path = name.includes("/") ? name : join(beside, name);
        if (name.includes("/")) beside = dirname(path);
        assert.ok(existsSync(join(root, path)) || existsSync(join(root, "docs", path)), `${path}: ${line.slice(0, 80)}`);
      }
      for (const [, target = ""] of line.matchAll(/\]\(([^)#:]+)\)/g)) assert.ok(existsSync(join(folder, target)), target);
    }
  });
