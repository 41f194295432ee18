import assert from "node:assert/strict";
import { test } from "node:test";
import { liveFigures } from "./live-figures.ts";

const mib = 2 ** 20;

test("a move's figures, an import's, and none", () => {
  const move = {
    phase: "performed",
    percent: 45,
    totalBytes: 160 * mib,
    processedBytes: 90 * mib,
    remainingBytes: 72 * mib,
    bytesPerSecond: 11 * mib,
  };
  assert.equal(liveFigures(move), "45 %, 72 MiB to go, 11 MiB/s");
  assert.equal(liveFigures({ step: "receiving", receivedBytes: 10 * mib, totalBytes: 40 * mib, percent: 25 }), "25 %, 10 MiB of 40 MiB");
  assert.equal(liveFigures({ receivedBytes: 10 * mib }), "10 MiB");
  for (const nothing of [undefined, null, {}, "x", { percent: "45", bytesPerSecond: Number.NaN }]) assert.equal(liveFigures(nothing), "");
});
