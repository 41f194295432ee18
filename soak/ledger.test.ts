import assert from "node:assert/strict";
import { appendFile, mkdtemp, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { seededRandom } from "@sheaf/base";
import { appendToLedger, readLedger, totals } from "./ledger.ts";
import { play } from "./play.ts";
import { reportText } from "./report.ts";
import type { Story } from "./story.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "soak-"));
  path = join(folder, "ledger.jsonl");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const at = "2026-01-01T00:00:00.000Z";
const began = (round: string, story = "s", seed = 1) => ({ line: "began", round, story, seed, at }) as const;
const ended = (round: string, outcome: "passed" | "failed" = "passed") => ({ line: "ended", round, outcome, at, durationMs: 1000 }) as const;

test("every round that began is passed, failed or broken off, in several runs together", async () => {
  for (const line of [began("1"), ended("1"), began("2", "s", 7), ended("2", "failed"), began("3"), began("4", "t"), ended("4")])
    await appendToLedger(path, line);
  const [s, t] = totals(await readLedger(path));
  assert.deepEqual(
    { ...s, failures: s?.failures.map(({ seed }) => seed) },
    { story: "s", began: 3, passed: 1, failed: 1, brokenOff: 1, durationMs: 2000, seeds: 1, figures: new Map(), failures: [7] },
  );
  assert.equal(t?.passed, 1);
});

test("a seed counts once, and not where it ever failed", async () => {
  for (const [round, seed, outcome] of [
    ["1", 5, "passed"],
    ["2", 5, "passed"],
    ["3", 6, "passed"],
    ["4", 6, "failed"],
  ] as const)
    for (const line of [began(round, "s", seed), ended(round, outcome)]) await appendToLedger(path, line);
  const [s] = totals(await readLedger(path));
  assert.deepEqual([s?.passed, s?.failed, s?.seeds], [3, 1, 1]);
});

test("figures of all rounds add up by name, those of failed ones too", async () => {
  for (const [round, outcome, figures] of [
    ["1", "passed", { "fast, ms": [5, 9] }],
    ["2", "failed", { "fast, ms": [30], "default, ms": [70] }],
  ] as const)
    for (const line of [began(round), { ...ended(round, outcome), figures }]) await appendToLedger(path, line);
  const lines = await readLedger(path);
  assert.deepEqual(
    totals(lines)[0]?.figures,
    new Map([
      ["fast, ms", [5, 9, 30]],
      ["default, ms", [70]],
    ]),
  );
  assert.match(reportText(lines), /^s, fast, ms: median 9, largest 30 of 3\ns, default, ms: median 70, largest 70 of 1$/m);
});

test("a crash at any byte of the last line loses that line alone, and the next one is whole", async () => {
  await appendToLedger(path, began("1"));
  await appendToLedger(path, ended("1"));
  const whole = (await readFile(path)).length;
  await appendToLedger(path, began("2"));
  const { length } = await readFile(path);
  for (let size = length - 1; size >= whole; size -= 1) {
    await truncate(path, size);
    await appendToLedger(path, began("3"));
    const lines = await readLedger(path);
    const rounds = lines.map(({ round }) => round);
    // A line that lacks its end of line alone is whole.
    assert.deepEqual(rounds, size === length - 1 ? ["1", "1", "2", "3"] : ["1", "1", "3"]);
    await truncate(path, size);
  }
});

test("what is no line of it does not keep the rest from being read", async () => {
  await appendToLedger(path, began("1"));
  await appendFile(path, "{ torn");
  await appendToLedger(path, ended("1"));
  assert.equal(totals(await readLedger(path))[0]?.passed, 1);
  assert.deepEqual(await readLedger(join(folder, "none")), []);
});

test("a story is played until its time is over: failures are kept with their seed, and a new site follows", async () => {
  let opened = 0;
  let closed = 0;
  const seeds: number[] = [];
  const story: Story = {
    name: "shaky",
    summary: "",
    open: async () => {
      opened += 1;
      return {
        round: async ({ seed, random, log, measured }) => {
          seeds.push(seed);
          assert.deepEqual(random.bytes(4), seededRandom(seed).bytes(4), "the round's randomness is its seed's");
          log("looked");
          measured("looks", seed);
          if (seed === 11) throw new Error("two copies run");
        },
        close: async () => void (closed += 1),
      };
    },
  };
  const ok = await play(story, { directory: folder, firstSeed: 10, rounds: 4, minutes: 30, say: () => {} });
  assert.equal(ok, false);
  assert.deepEqual(seeds, [10, 11, 12, 13]);
  assert.deepEqual([opened, closed], [2, 2]);
  const [total] = totals(await readLedger(path));
  assert.deepEqual([total?.began, total?.passed, total?.failed], [4, 3, 1]);
  const failure = total?.failures[0];
  assert.equal(failure?.seed, 11);
  assert.deepEqual(total?.figures.get("looks"), [10, 11, 12, 13]);
  const kept = await readFile(join(failure?.log ?? "", "round.log"), "utf8");
  assert.match(kept, /looked\n[^]*two copies run/);
  assert.match(reportText(await readLedger(path)), /shaky +4 +3 +1 +0 +3[^]*shaky, seed 11[^]*two copies run/);
  assert.equal(await play(story, { directory: folder, firstSeed: 20, minutes: 0, say: () => {} }), true);
  assert.equal(totals(await readLedger(path))[0]?.began, 5, "one round at least, and the ledger goes on");
});

test("a story whose site cannot be opened counts as failed", async () => {
  const story: Story = { name: "shut", summary: "", open: () => Promise.reject(new Error("no hosts")) };
  assert.equal(await play(story, { directory: folder, firstSeed: 1, rounds: 1, minutes: 1, say: () => {} }), false);
  assert.equal(totals(await readLedger(path))[0]?.failures[0]?.why, "no hosts");
});

test("a round that is stopped has ended before its site is taken down, and stands as broken off", { timeout: 10_000 }, async () => {
  const stop = new AbortController();
  const order: string[] = [];
  const story: Story = {
    name: "long",
    summary: "",
    open: async () => ({
      round: async ({ stop: signal }) => {
        stop.abort(new Error("Ctrl-C"));
        // Such as a server that is being started again.
        await pause(50);
        order.push(`round ended, stopped: ${signal.aborted}`);
        signal.throwIfAborted();
      },
      close: async () => void order.push("closed"),
    }),
  };
  assert.equal(await play(story, { directory: folder, firstSeed: 1, rounds: 2, minutes: 1, say: () => {}, stop: stop.signal }), true);
  assert.deepEqual(order, ["round ended, stopped: true", "closed"]);
  const [total] = totals(await readLedger(path));
  assert.deepEqual([total?.began, total?.brokenOff, total?.failed], [1, 1, 0]);
});
