import assert from "node:assert/strict";
import { test } from "node:test";
import { uuidv7 } from "./random.ts";

test("identifiers are version 7, carry their time and sort by it", () => {
  const random = { bytes: (length: number) => new Uint8Array(length).fill(0xab) };
  const earlier = uuidv7(1_700_000_000_000, random);
  const later = uuidv7(1_700_000_000_001, random);
  assert.match(earlier, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(earlier < later);
  assert.equal(Number.parseInt(earlier.replaceAll("-", "").slice(0, 12), 16), 1_700_000_000_000);
});
