import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { absent } from "./codes.ts";
import { ColumnWriter, readColumn } from "./column-codec.ts";

const code = fc.oneof(fc.constant(absent), fc.nat(3), fc.nat(300), fc.nat(absent));
const calm = fc.tuple(fc.nat(absent - 1), fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 400 })).map(([first, steps]) => {
  let last = first;
  return steps.map((step) => (last = Math.min(absent - 1, Math.max(0, last + step))));
});
const column = fc.oneof(fc.array(code, { maxLength: 400 }), calm, fc.array(fc.constantFrom(7, absent), { maxLength: 300 }));

function pack(codes: Uint16Array, writer = new ColumnWriter()): Uint8Array {
  const out = new ByteWriter(1);
  writer.write(out, codes, 0, codes.length);
  return out.written.slice();
}

test("whatever a column holds comes back, and the next column begins where it ends", () => {
  const writer = new ColumnWriter();
  fc.assert(
    fc.property(column, column, (left, right) => {
      const columns = [Uint16Array.from(left), Uint16Array.from(right)];
      const reader = new ByteReader(Buffer.concat(columns.map((each) => pack(each, writer))));
      for (const each of columns) {
        const back = new Uint16Array(each.length);
        readColumn(reader, back, 0, each.length);
        assert.deepEqual(back, each);
      }
      assert.equal(reader.left, 0);
    }),
    { numRuns: 3000 },
  );
});

test("a column that was cut off is refused, or its rows are fewer bits than were asked for", () => {
  const whole = pack(Uint16Array.from({ length: 100 }, (_, row) => (row * 7919) % 1000));
  for (let length = 0; length < whole.length - 1; length += 1)
    assert.throws(() => readColumn(new ByteReader(whole.subarray(0, length)), new Uint16Array(100), 0, 100), RangeError, `${length} bytes`);
});

test("what does not change is four bytes, what is not there one, what moves by little a few bits a row", () => {
  assert.equal(pack(new Uint16Array(128).fill(40_000)).length, 4);
  assert.equal(pack(new Uint16Array(128).fill(absent)).length, 1);
  const steps = Uint16Array.from({ length: 128 }, (_, row) => 5000 + (row % 3));
  assert.ok(pack(steps).length < 128 / 2);
});
