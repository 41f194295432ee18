import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { metricKinds, metrics } from "@sheaf/model";

test("docs/reference/telemetry.md names every metric with its meaning, and no other", async () => {
  const text = await readFile(new URL("../../../docs/reference/telemetry.md", import.meta.url), "utf8");
  const rows = [...text.matchAll(/^\| `([a-zA-Z]+)` \| (.*?) \| [^|]*; ±(0\.4|0\.05) % \|$/gm)].map(([, name, meaning, off]) => [name, meaning, off]);
  const expected = metricKinds.flatMap((kind) =>
    metrics[kind].map(({ name, meaning, significantBits }) => [name, meaning, significantBits === 8 ? "0.4" : "0.05"]),
  );
  assert.deepEqual(rows, expected);
});
