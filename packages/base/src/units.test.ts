import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBytes, formatDuration, parseBytes, parseDuration } from "./units.ts";

test("bytes are parsed in binary and decimal units, and nothing else is", () => {
  assert.equal(parseBytes("4GiB"), 4 * 2 ** 30);
  assert.equal(parseBytes("4G"), 4 * 2 ** 30);
  assert.equal(parseBytes("1.5MiB"), 1.5 * 2 ** 20);
  assert.equal(parseBytes("500MB/s"), 500_000_000);
  assert.equal(parseBytes("17"), 17);
  for (const wrong of ["", "-1", "4 apples", "1e9", "0x10", "GiB", "99999999PiB", "4toString", "constructor"])
    assert.equal(parseBytes(wrong), null, wrong);
});

test("durations need their unit", () => {
  assert.equal(parseDuration("90s"), 90_000);
  assert.equal(parseDuration("1h"), 3_600_000);
  assert.equal(parseDuration("90"), null);
});

test("quantities are written for people", () => {
  assert.equal(formatBytes(1.5 * 2 ** 30), "1.5 GiB");
  assert.equal(formatBytes(0), "0 B");
  assert.equal(formatDuration(350), "350 ms");
  assert.equal(formatDuration(185_000), "3 min 5 s");
});
