import assert from "node:assert/strict";
import { test } from "node:test";
import { randomInt, toHex } from "./random.ts";
import { seededRandom } from "./seeded-random.ts";

test("the same seed gives the same bytes, another seed others", () => {
  const first = toHex(seededRandom(7).bytes(16));
  assert.equal(toHex(seededRandom(7).bytes(16)), first);
  assert.notEqual(toHex(seededRandom(8).bytes(16)), first);
});

test("numbers are spread evenly", () => {
  const random = seededRandom(3);
  const counts = new Array<number>(10).fill(0);
  for (let draw = 0; draw < 20_000; draw += 1) {
    const value = randomInt(random, 10);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  for (const count of counts) assert.ok(count > 1800 && count < 2200, counts.join(" "));
});
