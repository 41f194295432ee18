import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import type { Cli } from "./cli.ts";
import { buildProgram } from "./program.ts";
import { cliReference } from "./reference.ts";

test("docs/reference/cli.md says what the commands are", async () => {
  const path = new URL("../../docs/reference/cli.md", import.meta.url);
  const wanted = cliReference(
    buildProgram(
      () => ({}) as Cli /* nothing runs */,
      () => 0,
    ),
  );
  if (process.env["SHEAF_UPDATE_GOLDEN"] === "1") await writeFile(path, wanted);
  assert.equal(await readFile(path, "utf8"), wanted);
});
