/** The telemetry files as their callers see them: figures go in as agents tell them, and come back after any time, crash and tidying. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@sheaf/base";
import { metrics } from "@sheaf/model";
import fc from "fast-check";
import type { Aggregation } from "./aggregate.ts";
import { type Series, Telemetry, telemetryShapes, type TelemetryShape } from "./telemetry.ts";
import { CrashingFiles } from "./testing/crashing-files.ts";
import { figureOf, figuresOf, idOf } from "./testing/figures.ts";

const slotMs = 10_000;
const hour = 360;
const start = Math.floor(Date.UTC(2026, 5, 1) / slotMs);
const directory = "/telemetry";
const host = idOf("host", 1);
const [first, second] = [idOf("vm", 1), idOf("vm", 2)];
/** Counted in whole quanta. */
const metric = "diskReadsPerSecond";
const number = metrics.vm.findIndex(({ name }) => name === metric);

const open = (files: CrashingFiles, slot: number, shape: TelemetryShape = telemetryShapes.full): Promise<Telemetry> =>
  Telemetry.open({ files, logger: silentLogger, directory, shape }, slot * slotMs);

function tell(telemetry: Telemetry, slot: number, machines: readonly string[] = [first, second], source = host): boolean {
  return telemetry.take(slot * slotMs, source, slot, [figuresOf("host", source, slot), ...machines.map((id) => figuresOf("vm", id, slot))]);
}

async function run(telemetry: Telemetry, from: number, to: number, machines?: readonly string[]): Promise<void> {
  for (let slot = from; slot < to; slot += 1) {
    tell(telemetry, slot, machines);
    if (slot % 30 === 3) await telemetry.keep(slot * slotMs);
  }
  await telemetry.keep(to * slotMs);
}

const ask = (telemetry: Telemetry, from: number, to: number, stepSlots: number, by: Aggregation = "mean", id = first): Promise<Series> =>
  telemetry.series({ kind: "vm", id, metrics: [metric], from: from * slotMs, to: to * slotMs, stepMs: stepSlots * slotMs, by });

const told = (id: string, from: number, to: number): number[] => Array.from({ length: to - from }, (_, each) => figureOf(id, from + each, number));
const mean = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0) / values.length;

test("every sample of a day comes back, from the running window, the log and the segments", async () => {
  const files = new CrashingFiles();
  const telemetry = await open(files, start);
  const end = start + 24 * hour - 17;
  await run(telemetry, start, end);
  const names = await files.list(`${directory}/10s`);
  assert.equal(names.filter((name) => name.endsWith(".segment")).length, 11, names.join());
  const series = await ask(telemetry, start, end, 1);
  assert.deepEqual([series.from, series.stepMs, series.rowMs], [start * slotMs, slotMs, slotMs]);
  assert.deepEqual(series.values[metric], told(first, start, end));
});

test("rows of five minutes come back with what their samples were, from wherever they are, and without those that are not there", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  const end = start + 30 * hour + 45;
  await run(telemetry, start, start + hour);
  // An hour without figures.
  await run(telemetry, start + 2 * hour, end);
  const question = { kind: "vm", id: first, from: start * slotMs, to: end * slotMs } as const;
  const rows = await telemetry.fiveMinuteRows(question);
  assert.equal(rows.rowMs, 300_000);
  const [means, greatest, least] = [rows.column(metric, "mean"), rows.column(metric, "greatest"), rows.column(metric, "least")];
  assert.equal(means.length, Math.ceil((end - start) / 30));
  for (let row = 0; row < means.length; row += 1) {
    if (row >= 12 && row < 24) {
      assert.deepEqual([means[row], greatest[row], least[row]], [Number.NaN, Number.NaN, Number.NaN]);
      continue;
    }
    const samples = told(first, start + row * 30, Math.min(end, start + (row + 1) * 30));
    assert.deepEqual([greatest[row], least[row]], [Math.max(...samples), Math.min(...samples)]);
    assert.ok(Math.abs((means[row] ?? 0) - mean(samples)) <= mean(samples) * 0.005 + 0.5);
  }
  assert.ok(rows.column("nothing", "mean").every(Number.isNaN));
  const nobody = await telemetry.fiveMinuteRows({ ...question, id: idOf("vm", 99) });
  assert.ok(nobody.column(metric, "mean").every(Number.isNaN));
});

test("steps give means, greatest, least and percentiles of the samples while these are kept", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  await run(telemetry, start, start + 2 * hour);
  const step = 6;
  const pieces = Array.from({ length: (2 * hour) / step }, (_, each) => told(first, start + each * step, start + (each + 1) * step));
  const expected: [Aggregation, (values: number[]) => number][] = [
    ["mean", (values) => Math.round(mean(values) * 10_000) / 10_000],
    ["max", (values) => Math.max(...values)],
    ["min", (values) => Math.min(...values)],
    [{ percentile: 50 }, (values) => values.toSorted((left, right) => left - right)[2] ?? -1],
    [{ percentile: 100 }, (values) => Math.max(...values)],
  ];
  for (const [by, figure] of expected)
    assert.deepEqual((await ask(telemetry, start, start + 2 * hour, step, by)).values[metric], pieces.map(figure), JSON.stringify(by));
});

test("five minutes and hours have the mean, greatest and least of their samples, also of those that are no file yet", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  const end = start + 3 * hour + 45;
  await run(telemetry, start, end);
  for (const step of [30, hour]) {
    for (const by of ["mean", "max", "min"] as const) {
      const { values, rowMs } = await ask(telemetry, start, end, step, by);
      assert.equal(rowMs, step * slotMs);
      const figures = values[metric] ?? [];
      assert.equal(figures.length, Math.ceil((end - start) / step));
      figures.forEach((figure, place) => {
        const samples = told(first, start + place * step, Math.min(end, start + (place + 1) * step));
        // Means of small whole numbers are kept as the nearest; those of an hour are means of such.
        const expected = by === "mean" ? mean(samples) : by === "max" ? Math.max(...samples) : Math.min(...samples);
        assert.ok(
          figure !== null && Math.abs(figure - expected) <= (by === "mean" ? 1 : 0),
          `${by} of ${place} in steps of ${step}: ${figure}, not ${expected}`,
        );
      });
    }
  }
});

test("with the short shape there are minutes for a day where the samples are gone", async () => {
  const files = new CrashingFiles();
  const telemetry = await open(files, start, telemetryShapes.short);
  const end = start + 12 * hour;
  await run(telemetry, start, end);
  const day = await ask(telemetry, start, end, 1);
  assert.equal(day.rowMs, 60_000);
  const minutes = day.values[metric] ?? [];
  minutes.forEach((figure, place) => {
    const samples = told(first, start + place * 6, start + (place + 1) * 6);
    assert.ok(figure !== null && Math.abs(figure - mean(samples)) <= 0.5, `minute ${place}`);
  });
  assert.equal(minutes.length, 720);
  assert.equal((await ask(telemetry, end - hour, end, 1)).rowMs, slotMs);
});

test("who asks for all times gets the two years that are kept, and not a place for every hour since 1970", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  await run(telemetry, start, start + hour + 5);
  const question = { kind: "vm", id: first, metrics: [metric], from: 0, to: 8_640_000_000_000_000, stepMs: slotMs, by: "max" } as const;
  const { values, rowMs, stepMs } = await telemetry.series(question);
  assert.equal(rowMs, 3_600_000);
  const figures = values[metric] ?? [];
  assert.ok(figures.length <= (730 * 24 * 3_600_000) / stepMs + 3, `${figures.length} figures`);
  assert.equal(figures.filter((figure) => figure !== null).length, 2);
  assert.deepEqual((await telemetry.series({ ...question, from: (start + 10 * 365 * 24 * hour) * slotMs })).values, { [metric]: [] });
});

test("another shape goes on with the resolutions that both have, and takes the others' files away", async () => {
  const files = new CrashingFiles();
  const telemetry = await open(files, start, telemetryShapes.short);
  await run(telemetry, start, start + hour);
  tell(telemetry, start + hour);
  await telemetry.keep((start + hour) * slotMs);
  const again = await open(files, start + hour);
  assert.deepEqual((await ask(again, start, start + hour, 1)).values[metric], told(first, start, start + hour));
  assert.deepEqual(
    [...files.contents.keys()].filter((path) => path.includes("/60s/")),
    [],
  );
});

test("what is older than it is kept is deleted, and coarser rows answer for it", async () => {
  const files = new CrashingFiles();
  const telemetry = await open(files, start);
  await run(telemetry, start, start + 6 * hour);
  const later = start + 40 * hour;
  await run(telemetry, later, later + hour);
  const names = await files.list(`${directory}/10s`);
  assert.equal(names.length, 1, names.join());
  const { rowMs, values } = await ask(telemetry, start, start + hour, 1);
  assert.equal(rowMs, 300_000);
  assert.equal(values[metric]?.filter((each) => each !== null).length, 12);
});

test("a host that tells again what it told is not counted twice; its acknowledgement is of whole windows on the disk", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  const heard: number[] = [];
  telemetry.onDurable((source, slot) => heard.push(source === host ? slot : -1));
  for (let slot = start; slot < start + 35; slot += 1) assert.ok(tell(telemetry, slot));
  assert.equal(telemetry.durableUpTo(host), -1);
  await telemetry.commit();
  assert.equal(telemetry.durableUpTo(host), start + 29);
  assert.deepEqual(heard, [start + 29]);
  assert.equal(tell(telemetry, start + 34), false);
  assert.deepEqual((await ask(telemetry, start, start + 35, 1)).values[metric], told(first, start, start + 35));
});

test("a host that falls silent in a window has its figures on the disk soon, and the rest of the window when it comes", async () => {
  const files = new CrashingFiles();
  const telemetry = await open(files, start);
  for (let slot = start; slot < start + 7; slot += 1) tell(telemetry, slot);
  await telemetry.keep((start + 30 + 6) * slotMs);
  assert.equal(telemetry.durableUpTo(host), start + 6);
  for (let slot = start + 7; slot < start + 65; slot += 1) telemetry.take((start + 400) * slotMs, host, slot, [figuresOf("vm", first, slot)]);
  await telemetry.keep((start + 400) * slotMs);
  files.crash();
  const again = await open(files, start + 400);
  assert.deepEqual((await ask(again, start, start + 65, 1)).values[metric], told(first, start, start + 65));
  const [five] = (await ask(again, start, start + 60, 30)).values[metric] ?? [];
  assert.ok(Math.abs((five ?? 0) - mean(told(first, start, start + 30))) <= 1);
});

test("a machine that moves is one series; the greatest are found over both of its hosts", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  const other = idOf("host", 2);
  for (let slot = start; slot < start + 100; slot += 1) {
    tell(telemetry, slot, slot < start + 50 ? [first] : []);
    tell(telemetry, slot, slot < start + 50 ? [second] : [second, first], other);
  }
  await telemetry.keep((start + 100) * slotMs);
  assert.deepEqual((await ask(telemetry, start, start + 100, 1)).values[metric], told(first, start, start + 100));
  const top = telemetry.top((start + 100) * slotMs, { kind: "vm", metric, windowMs: 3_600_000, by: "max", count: 10 });
  const greatest = [first, second].map((id) => ({ id, value: Math.max(...told(id, start, start + 100)) }));
  assert.deepEqual(
    top.toSorted((left, right) => left.id.localeCompare(right.id)),
    greatest,
  );
});

test("the greatest of many are those that sorting finds, over minutes, an hour, a day, and after a restart", async () => {
  const files = new CrashingFiles();
  const machines = Array.from({ length: 40 }, (_, each) => idOf("vm", each * 3));
  let telemetry = await open(files, start);
  const end = start + 5 * hour;
  await run(telemetry, start, end, machines);
  const check = (): void => {
    for (const [windowMs, from] of [
      [1_200_000, end - 120],
      [3_600_000, end - 360],
      [86_400_000, start],
    ] as const) {
      for (const by of ["mean", "max"] as const) {
        const top = telemetry.top(end * slotMs, { kind: "vm", metric, windowMs, by, count: 10 });
        assert.equal(top.length, 10);
        const of = (id: string): number => (by === "max" ? Math.max(...told(id, from, end)) : mean(told(id, from, end)));
        const least = machines.map(of).sort((left, right) => right - left)[9] ?? 0;
        for (const { id, value } of top) {
          assert.ok(Math.abs(value - of(id)) <= 1, `${by} over ${windowMs} of ${id}: ${value}, not ${of(id)}`);
          assert.ok(of(id) >= least - 2);
        }
      }
    }
  };
  check();
  assert.deepEqual(
    telemetry
      .top(end * slotMs, { kind: "vm", metric, windowMs: 3_600_000, by: "max", count: 10, only: (id) => id === machines[7] })
      .map(({ id }) => id),
    [machines[7]],
  );
  // Until the last window is over, so that nothing is lost with it.
  tell(telemetry, end, machines);
  await telemetry.keep(end * slotMs);
  files.crash();
  telemetry = await open(files, end);
  check();
});

test("after a crash at any change of the disk, all that was acknowledged is there, once, and what is told again is taken", async () => {
  const shape: TelemetryShape = {
    tiers: [
      { stepMs: slotMs, keepMs: 86_400_000, fileMs: 900_000 },
      { stepMs: 300_000, keepMs: 30 * 86_400_000, fileMs: 3_600_000 },
      { stepMs: 3_600_000, keepMs: 730 * 86_400_000, fileMs: 86_400_000 },
    ],
  };
  const end = start + 3 * hour;
  const calm = new CrashingFiles();
  await run(await open(calm, start, shape), start, end);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: calm.changes }), fc.constantFrom(0, 0.5, 1), async (failAt, shareKept) => {
      const files = new CrashingFiles();
      files.failAt = failAt;
      let acknowledged = -1;
      let slot = start;
      try {
        const telemetry = await open(files, start, shape);
        telemetry.onDurable((_, upTo) => (acknowledged = upTo));
        for (; slot < end; slot += 1) {
          tell(telemetry, slot);
          if (slot % 30 === 3) await telemetry.keep(slot * slotMs);
        }
      } catch {
        // The disk has failed: the server dies.
      }
      files.crash(shareKept);
      const again = await open(files, slot, shape);
      if (acknowledged > 0)
        assert.deepEqual((await ask(again, start, acknowledged + 1, 1)).values[metric], told(first, start, acknowledged + 1), "acknowledged");
      assert.ok(again.durableUpTo(host) >= acknowledged);
      // The agent tells again what was not acknowledged, and goes on.
      await run(again, Math.max(start, acknowledged + 1), end);
      assert.deepEqual((await ask(again, start, end, 1)).values[metric], told(first, start, end), "told again");
      const hours = (await ask(again, start, end, hour)).values[metric] ?? [];
      hours.forEach((figure, place) => {
        const expected = mean(told(first, start + place * hour, start + (place + 1) * hour));
        assert.ok(figure !== null && Math.abs(figure - expected) <= 1, `hour ${place}: ${figure}, not ${expected}`);
      });
    }),
    { numRuns: 60 },
  );
});

test("figures of a version that knows fewer metrics, or none of a machine's, leave the others alone", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  for (let slot = start; slot < start + 60; slot += 1)
    telemetry.take(slot * slotMs, host, slot, [
      { id: first, kind: "vm", figures: [5, slot % 2 ? null : 7, 9], numbers: Int16Array.of(0, number, -1) },
    ]);
  const { values } = await ask(telemetry, start, start + 4, 1);
  assert.deepEqual(values[metric], [7, null, 7, null]);
  const all = await telemetry.series({
    kind: "vm",
    id: first,
    metrics: ["cpu", "cpuWaiting"],
    from: start * slotMs,
    to: (start + 2) * slotMs,
    stepMs: slotMs,
    by: "mean",
  });
  assert.deepEqual(all.values, { cpu: [0.005, 0.005], cpuWaiting: [null, null] });
});

test("a row of the future, which would make all that follows look old, is left out, and one of long ago", async () => {
  const telemetry = await open(new CrashingFiles(), start);
  assert.equal(telemetry.take(start * slotMs, host, start - 81 * hour, [figuresOf("vm", first, start)]), false);
  assert.ok(telemetry.take(start * slotMs, host, start - 79 * hour, [figuresOf("vm", first, start)]));
  assert.equal(telemetry.take(start * slotMs, host, start + hour, [figuresOf("vm", first, start)]), false);
  assert.ok(tell(telemetry, start));
});
