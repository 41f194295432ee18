import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NodeFiles } from "@sheaf/adapters";
import { silentLogger } from "@sheaf/base";
import { KeptState } from "./kept-state.ts";

test("what is kept of one thing by many at once ends whole, as the last one said", { timeout: 30_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-kept-"));
  try {
    const options = { files: new NodeFiles(), logger: silentLogger, directory };
    const kept = await KeptState.open(options);
    await Promise.all(Array.from({ length: 40 }, (_, number) => kept.putNote("one", { number, text: "x".repeat(number * 100) })));
    await Promise.all([kept.putNote("two", 1), kept.removeNote("two"), kept.putNote("three", 1), kept.removeNote("three"), kept.putNote("three", 2)]);
    const again = await KeptState.open(options);
    assert.deepEqual(again.note("one"), { number: 39, text: "x".repeat(3900) });
    assert.deepEqual([again.note("two"), again.note("three")], [undefined, 2]);
    assert.equal(again.setAside, 0);
    assert.deepEqual((await readdir(join(directory, "notes"))).toSorted(), ["one.json", "three.json"]);
  } finally {
    await rm(directory, { recursive: true });
  }
});
