import assert from "node:assert/strict";
import { test } from "node:test";
import { statisticsOf } from "./libvirt-terms.ts";

const balloon = (values: Record<string, number>) =>
  statisticsOf({ domain: { name: "m", uuid: "m", id: 1 }, values: { "balloon.current": 8 << 20, "balloon.rss": 5 << 20, ...values } });

test("what a guest could have without swapping is told where its driver says it, and never guessed", () => {
  const gib = 2 ** 30;
  const says = balloon({ "balloon.available": 7 << 20, "balloon.unused": 1 << 20, "balloon.usable": 4 << 20 });
  assert.deepEqual([says.memoryUsedBytes, says.memoryAvailableBytes], [6 * gib, 4 * gib]);
  const older = balloon({ "balloon.available": 7 << 20, "balloon.unused": 1 << 20 });
  assert.deepEqual([older.memoryUsedBytes, older.memoryAvailableBytes], [6 * gib, undefined]);
  const silent = balloon({});
  assert.deepEqual([silent.memoryUsedBytes, silent.memoryAvailableBytes], [5 * gib, undefined]);
});
