import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { absent, codeOf, quantaOf } from "./codes.ts";

const bits = fc.constantFrom(8, 11);
const quanta = fc.oneof(fc.nat(5000), fc.nat(2 ** 31 - 1));

test("a number comes back as near as its digits allow, small ones exactly", () => {
  fc.assert(
    fc.property(quanta, bits, (value, digits) => {
      const back = quantaOf(codeOf(value, digits), digits);
      if (value < 2 ** digits) assert.equal(back, value);
      else assert.ok(Math.abs(back - value) <= value / 2 ** digits, `${value} came back as ${back}`);
    }),
    { numRuns: 2000 },
  );
});

test("codes rise with the numbers, and none is the one for no figure", () => {
  fc.assert(
    fc.property(quanta, quanta, bits, (left, right, digits) => {
      const codes = [codeOf(Math.min(left, right), digits), codeOf(Math.max(left, right), digits)] as const;
      assert.ok(codes[0] <= codes[1] && codes[1] < absent);
    }),
    { numRuns: 2000 },
  );
});

test("what is no number of quanta becomes the nearest", () => {
  assert.deepEqual(
    [-5, Number.NaN, 0.4, 0.6, 1e15].map((value) => quantaOf(codeOf(value, 11), 11)),
    [0, 0, 0, 1, 2 ** 31],
  );
});
