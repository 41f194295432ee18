/** A key may leave a question open, never answer it otherwise than the values would. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareKeys, compareValues, SortKeys, type SortValue } from "./sort-column.ts";

const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: "binary", maxLength: 10 }),
  fc.nat(99_999).map((number) => `machine-${number}`),
  fc.constantFrom("", "a", "a\u0000", "a~", "a\u007f", "aé", "machine-", "machine-1", "machine-10"),
);
const number = fc.oneof(fc.integer(), fc.double({ noNaN: true }), fc.constantFrom(0, -0, 1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY));
const absent = { weight: 1, arbitrary: fc.constant(null) };
const texts = fc.oneof({ weight: 8, arbitrary: text }, absent);
const numbers = fc.oneof({ weight: 8, arbitrary: number }, absent);
const both = fc.oneof({ weight: 8, arbitrary: text }, { weight: 2, arbitrary: number }, absent);
const columnsOf = (value: fc.Arbitrary<SortValue>) =>
  fc.tuple(fc.array(value, { minLength: 2, maxLength: 12 }), fc.array(fc.tuple(fc.nat(11), value), { maxLength: 6 }));

test("keys order rows as their values do, whatever came, changed or took another's place", () => {
  fc.assert(
    fc.property(fc.oneof(columnsOf(texts), columnsOf(numbers), columnsOf(both)), ([first, changes]) => {
      const values: SortValue[] = [];
      const keys = new SortKeys();
      const check = (): void => {
        const ordered = keys.ordered(values);
        // Only a column of one type has keys, and one that has had others before may have none.
        if (ordered === null) return;
        for (const [left, a] of values.entries())
          for (const [right, b] of values.entries())
            for (const direction of [1, -1] as const) {
              const byKey = compareKeys(ordered.keys[left] ?? Number.NaN, ordered.keys[right] ?? Number.NaN, direction);
              if (byKey !== 0 || ordered.exact) assert.equal(Math.sign(byKey), Math.sign(compareValues(a, b, direction)), JSON.stringify([a, b]));
            }
      };
      const set = (row: number, one: SortValue): void => {
        values[row] = one;
        keys.set(row, one);
      };
      for (const [row, one] of first.entries()) set(row, one);
      check();
      for (const [row, one] of changes) set(row % values.length, one);
      check();
      keys.move(values.length - 1, 0);
      values[0] = values.pop() ?? null;
      check();
    }),
    { numRuns: 2000 },
  );
});

test("names that differ behind a common beginning are told apart by their keys, numbers altogether; a mixture has none", () => {
  const keys = new SortKeys();
  const values = ["machine-00017", "machine-00018", "machine-00117"];
  for (const [row, one] of values.entries()) keys.set(row, one);
  const ordered = keys.ordered(values)?.keys ?? [];
  assert.ok((ordered[0] ?? 0) < (ordered[1] ?? 0) && (ordered[1] ?? 0) < (ordered[2] ?? 0));
  keys.set(3, 5);
  assert.equal(keys.ordered([...values, 5]), null);
  const times = new SortKeys();
  for (let row = 0; row < 200; row += 1) times.set(row, row === 150 ? null : 1_764_000_000_000 + row);
  const found = times.ordered([]);
  assert.equal(found?.exact, true);
  assert.deepEqual(
    [0, 149, 150, 199].map((row) => found?.keys[row]),
    [1_764_000_000_000, 1_764_000_000_149, Number.POSITIVE_INFINITY, 1_764_000_000_199],
  );
});
