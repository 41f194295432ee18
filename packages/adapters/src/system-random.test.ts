import assert from "node:assert/strict";
import { test } from "node:test";
import { systemRandom } from "./system-random.ts";

test("no bytes are handed out twice, however many are asked for at once", () => {
  const seen = new Set<string>();
  let count = 0;
  for (const length of [16, 256, 32, 257, 5000]) {
    for (let round = 0; round < 300; round += 1) {
      const bytes = systemRandom.bytes(length);
      assert.equal(bytes.length, length);
      // In pieces of sixteen: two of them alike among so few is as likely as a broken key.
      for (let at = 0; at + 16 <= length; at += 16) {
        seen.add(Buffer.from(bytes.subarray(at, at + 16)).toString("hex"));
        count += 1;
      }
    }
  }
  assert.equal(seen.size, count);
});

test("what is handed out belongs to whoever asked", () => {
  const bytes = systemRandom.bytes(16);
  assert.equal(bytes.buffer.byteLength, 16, "no view of what others are given");
  assert.equal(systemRandom.bytes(0).length, 0);
});
