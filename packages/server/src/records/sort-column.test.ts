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
const value = fc.oneof({ weight: 8, arbitrary: text }, { weight: 1, arbitrary: fc.constant(null) });

test("keys order rows as their values do, whatever came, changed or took another's place", () => {
  fc.assert(
    fc.property(fc.array(value, { minLength: 2, maxLength: 12 }), fc.array(fc.tuple(fc.nat(11), value), { maxLength: 6 }), (first, changes) => {
      const values: SortValue[] = [];
      const keys = new SortKeys();
      const check = (): void => {
        const ordered = keys.ordered(values);
        if (ordered === null) return assert.ok(values.every((one) => one === null));
        for (const [left, a] of values.entries())
          for (const [right, b] of values.entries())
            for (const direction of [1, -1] as const) {
              const byKey = compareKeys(ordered[left] ?? Number.NaN, ordered[right] ?? Number.NaN, direction);
              if (byKey !== 0) assert.equal(Math.sign(byKey), Math.sign(compareValues(a, b, direction)), JSON.stringify([a, b]));
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

test("names that differ behind a common beginning are told apart by their keys; numbers have none", () => {
  const keys = new SortKeys();
  const values = ["machine-00017", "machine-00018", "machine-00117"];
  for (const [row, one] of values.entries()) keys.set(row, one);
  const ordered = keys.ordered(values) ?? [];
  assert.ok((ordered[0] ?? 0) < (ordered[1] ?? 0) && (ordered[1] ?? 0) < (ordered[2] ?? 0));
  keys.set(3, 5);
  assert.equal(keys.ordered([...values, 5]), null);
});
