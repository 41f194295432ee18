import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { allAtOnce } from "./all-at-once.ts";

/** Goes on until it is stopped, and needs a moment to end. */
function slow() {
  const seen = { ended: false };
  const work = async (stop: AbortSignal): Promise<void> => {
    while (!stop.aborted) await pause(5);
    await pause(50);
    seen.ended = true;
    stop.throwIfAborted();
  };
  return { seen, work };
}

test("the first failure stops the others, and is told when they have ended", { timeout: 10_000 }, async () => {
  const { seen, work } = slow();
  const refuse = (): Promise<void> => Promise.reject(new Error("refused"));
  await assert.rejects(allAtOnce([work, refuse], new AbortController().signal), /^Error: refused$/);
  assert.ok(seen.ended);
});

test("a stop from outside is told too, when all have ended", { timeout: 10_000 }, async () => {
  const { seen, work } = slow();
  const stop = new AbortController();
  const all = allAtOnce([work, work], stop.signal);
  stop.abort(new Error("Ctrl-C"));
  await assert.rejects(all, /^Error: Ctrl-C$/);
  assert.ok(seen.ended);
});

test("works that all come to their end are waited for", { timeout: 10_000 }, async () => {
  let count = 0;
  const work = async (): Promise<void> => {
    await pause(10);
    count += 1;
  };
  await allAtOnce([work, work], new AbortController().signal);
  assert.equal(count, 2);
});
