import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SortedList } from "./sorted-list.ts";

test("a sorted list behaves as a sorted set of numbers, in both directions and from anywhere", () => {
  const action = fc.record({ add: fc.boolean(), item: fc.integer({ min: 0, max: 3000 }) });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 2500, size: "max" }),
      fc.array(action, { maxLength: 2500, size: "max" }),
      fc.integer({ min: -1, max: 3001 }),
      (start, actions, place) => {
        const list = new SortedList<number>((left, right) => left - right);
        const model = new Set(start);
        list.fill(model);
        for (const { add, item } of actions) {
          assert.equal(add ? list.add(item) : list.remove(item), add ? !model.has(item) : model.has(item));
          if (add) model.add(item);
          else model.delete(item);
        }
        const sorted = [...model].sort((left, right) => left - right);
        assert.equal(list.size, sorted.length);
        assert.deepEqual([...list], sorted);
        assert.deepEqual(
          [...list.from((item) => item - place)],
          sorted.filter((item) => item >= place),
        );
        assert.deepEqual([...list.backFrom((item) => item - place)], sorted.filter((item) => item <= place).toReversed());
      },
    ),
    { numRuns: 40 },
  );
});

test("clearing empties it", () => {
  const list = new SortedList<number>((left, right) => left - right);
  list.fill([3, 1, 2]);
  list.clear();
  assert.deepEqual([...list], []);
  assert.equal(list.add(5), true);
  assert.deepEqual([...list], [5]);
});
