import assert from "node:assert/strict";
import { test } from "node:test";
import { drawPlan, type FaultKind } from "./fault-plan.ts";
import { run } from "./run.ts";
import { shrink } from "./shrink.ts";

const minuteMs = 60_000;

test("one seed gives one run, event for event; another seed another", { timeout: 120_000 }, async () => {
  const options = { hosts: 3, durationMs: 10 * minuteMs, faults: "heavy" } as const;
  const [first, again, other] = [await run({ ...options, seed: 3 }), await run({ ...options, seed: 3 }), await run({ ...options, seed: 4 })];
  assert.equal(again.digest, first.digest);
  assert.deepEqual(again.lines, first.lines);
  assert.notEqual(other.digest, first.digest);
  assert.ok(first.events > 500, `${first.events} events are no run`);
});

/** A fixed set, chosen before anything was known of it. `planted.simulation.test.ts` shows what the first seeds notice. */
const seeds: readonly (readonly [seed: number, hosts: number, minutes: number])[] = [
  [1, 4, 18],
  [2, 4, 18],
  [3, 4, 18],
  [4, 4, 18],
  [5, 4, 18],
  [6, 4, 18],
  [7, 4, 18],
  [8, 4, 18],
  [9, 4, 18],
  [10, 4, 18],
  [11, 9, 12],
];

for (const [seed, hosts, minutes] of seeds) {
  test(`seed ${seed}: ${hosts} hosts, ${minutes} minutes of heavy faults, every promise is kept`, { timeout: 120_000 }, async () => {
    const { broken } = await run({ seed, hosts, durationMs: minutes * minuteMs, faults: "heavy" });
    assert.equal(broken, null);
  });
}

test("a server that does not end when it is asked to is killed, and comes back", { timeout: 120_000 }, async () => {
  const fault = (kind: FaultKind, atMinutes: number, forMs = 0) =>
    ({ type: "fault", kind, atMs: atMinutes * minuteMs, host: 0, forMs, amount: 1 }) as const;
  const plan = [fault("server-hang", 1, 5 * minuteMs), fault("server-restart", 2), fault("host-disk-slow", 25, 1000)];
  const { broken, lines } = await run({ seed: 1, hosts: 2, servers: 1, durationMs: 30 * minuteMs, faults: "none", deedsPerHour: 0, plan });
  assert.equal(broken, null);
  const back = lines.find(({ atMs, text }) => atMs > 2 * minuteMs && text === "the server answers");
  assert.ok(back && back.atMs < 4 * minuteMs, "a service manager waits for seconds");
});

test("a plan shrinks to what breaks the promise", async () => {
  const plan = drawPlan({ seed: 1, hosts: 4, durationMs: 3_600_000, faults: "heavy", deedsPerHour: 100 });
  const culprits = [plan[20], plan[55]];
  let runs = 0;
  const small = await shrink(
    plan,
    async (candidate) => {
      runs += 1;
      return culprits.every((culprit) => culprit !== undefined && candidate.includes(culprit));
    },
    400,
  );
  assert.deepEqual(small, culprits);
  assert.ok(runs < 200, `${runs} runs for ${plan.length} events`);
});
