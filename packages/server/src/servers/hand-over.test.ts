/** When a server sends its agents to others: only where the store answers those, and not itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import { HandOver } from "./hand-over.ts";

async function releasesIn(ms: number, silence: { readonly own: number; readonly others: number }): Promise<number> {
  const clock = new SimulatedClock();
  let releases = 0;
  const handOver = new HandOver({
    own: { storeSilentMs: silence.own },
    others: { othersStoreSilentMs: silence.others },
    release: () => (releases += 1),
    clock,
    logger: silentLogger,
  });
  await clock.advance(ms);
  handOver.close();
  await clock.advance(ms);
  return releases;
}

test("agents go to the other server while the store answers that one alone, those that come back too", async () => {
  assert.equal(await releasesIn(1000, { own: 3500, others: 1000 }), 4);
});

test("agents stay where the store answers this server, or none", async () => {
  assert.equal(await releasesIn(10_000, { own: 2000, others: 500 }), 0);
  assert.equal(await releasesIn(10_000, { own: 60_000, others: 60_000 }), 0);
  assert.equal(await releasesIn(10_000, { own: 60_000, others: Number.POSITIVE_INFINITY }), 0, "no other server is reached");
});
