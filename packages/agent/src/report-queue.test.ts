import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ReportQueue } from "./report-queue.ts";

const values = (batch: ReturnType<ReportQueue["next"]>) => batch?.parts.map((part) => [part.id, part.value]);

test("only the newest value of a part is told, in the order of the latest changes, one batch at a time", () => {
  let changes = 0;
  const queue = new ReportQueue(() => (changes += 1));
  queue.put("vm", "a", "status/agent", 1);
  queue.put("vm", "b", "status/agent", 1);
  queue.put("vm", "a", "status/agent", 2);
  assert.equal(changes, 3);
  const batch = queue.next();
  assert.deepEqual(values(batch), [
    ["b", 1],
    ["a", 2],
  ]);
  queue.put("vm", "b", "status/agent", 3);
  assert.equal(queue.next(), null);
  queue.answered(batch?.sequence ?? 0);
  assert.deepEqual(values(queue.next()), [["b", 3]]);
});

test("what the server has already is not told again, but all of it on a new connection", () => {
  const queue = new ReportQueue(() => {});
  queue.put("vm", "a", "status/agent", { state: "running" });
  queue.put("vm", "b", "status/agent", { state: "stopped" });
  queue.answered(queue.next()?.sequence ?? 0);
  queue.put("vm", "a", "status/agent", { state: "running" });
  assert.equal(queue.next(), null);
  queue.forget("vm", "b");
  queue.restart();
  assert.deepEqual(values(queue.next()), [["a", { state: "running" }]]);
  queue.restart();
  assert.deepEqual(values(queue.next()), [["a", { state: "running" }]], "a lost batch comes again");
  assert.deepEqual(queue.answered(1), [], "an answer to a lost batch means nothing");
});

test("property: whatever is lost on the way, the server ends with the last value of every part", () => {
  const action = fc.oneof(
    fc.record({ do: fc.constant("put" as const), id: fc.constantFrom("a", "b", "c"), value: fc.integer({ min: 0, max: 3 }) }),
    fc.record({ do: fc.constantFrom("deliver" as const, "lose" as const) }),
  );
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const queue = new ReportQueue(() => {});
      const last = new Map<string, unknown>();
      const server = new Map<string, unknown>();
      const deliver = () => {
        const batch = queue.next();
        if (!batch) return false;
        for (const part of batch.parts) server.set(part.id, part.value);
        queue.answered(batch.sequence);
        return true;
      };
      for (const each of actions) {
        if (each.do === "put") {
          last.set(each.id, each.value);
          queue.put("vm", each.id, "status/agent", each.value);
        } else if (each.do === "deliver") deliver();
        else {
          const batch = queue.next();
          // Half of what is lost had arrived.
          for (const part of batch?.parts.slice(0, 1) ?? []) server.set(part.id, part.value);
          queue.restart();
        }
      }
      while (deliver());
      assert.deepEqual(server, last.size === 0 ? server : last);
    }),
    { numRuns: 2000 },
  );
});
