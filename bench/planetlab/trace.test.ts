import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { g4, g5, machinesOf } from "./fleet.ts";
import { leastKwh, untilIdle } from "./lower-bound.ts";
import { syntheticDay } from "./synthetic-day.ts";
import { readDays } from "./trace.ts";

const line = (name: string, percentage: number): string => `${name},${new Array(288).fill(percentage).join(",")}`;

test("days are read from the folder, in order; without any a sentence says what to set", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sheaf-traces-"));
  t.after(() => rm(folder, { recursive: true }));
  await assert.rejects(readDays(undefined), /set SHEAF_TRACES to the folder that holds planetlab/);
  await assert.rejects(readDays(folder), /No PlanetLab day lies in .*planetlab: SHEAF_TRACES/);
  const write = (name: string, text: string) => writeFile(join(folder, "planetlab", name), gzipSync(text));
  await mkdir(join(folder, "planetlab"));
  await write("20110310.csv.gz", `${line("b", 7)}\n`);
  await write("20110303.csv.gz", `${line("a", 50)}\n${line("b", 100)}\n`);
  const days = await readDays(folder);
  assert.deepEqual(
    days.map(({ name, shares }) => [name, shares.length, shares[0]?.[287]]),
    [
      ["20110303", 2, 0.5],
      ["20110310", 1, 0.07],
    ],
  );
  await write("20110311.csv.gz", "a,1,2,3\n");
  await assert.rejects(readDays(folder), /Day 20110311, line 1: 288 percentages/);
});

test("machines have their size by their place among the four quarters", () => {
  const shares = Array.from({ length: 6 }, () => new Float64Array(288).fill(0.5));
  assert.deepEqual(
    machinesOf({ name: "d", shares }).map(({ mips, ramMb, demand }) => [mips, ramMb, demand[0]]),
    [
      [2500, 870, 1250],
      [2500, 870, 1250],
      [2000, 1740, 1000],
      [2000, 1740, 1000],
      [1000, 1740, 500],
      [1000, 1740, 500],
    ],
  );
});

test("the least energy fills the hosts that do most for a watt; the last one as far as it is needed", () => {
  const demand = Float64Array.of(5320 + 532, 0);
  // One G5 at 135 W and one at a tenth: 97 W. The G4, which does less for a watt, sleeps.
  const kwh = leastKwh([{ mips: 10_000, ramMb: 1, demand }], [g4, g5, g5]);
  assert.ok(Math.abs(kwh - ((135 + 97) * 300) / 3_600_000) < 1e-12);
  assert.deepEqual(
    [...untilIdle(Float64Array.of(0, 0, 3, 0, 4, 0, 0, 5))],
    [0, 0, 3, 0, 4, 0, 0, 0].map((value, step) => (step === 1 ? 0 : value)),
  );
});

test("a synthetic day is the same for the same seed", () => {
  assert.deepEqual(syntheticDay("bursts", 3, 5), syntheticDay("bursts", 3, 5));
  assert.notDeepEqual(syntheticDay("office", 3, 5), syntheticDay("office", 3, 6));
  for (const share of syntheticDay("office", 20, 1).shares.flatMap((each) => [...each])) assert.ok(share >= 0.01 && share <= 1);
});
