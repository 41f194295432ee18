import assert from "node:assert/strict";
import { test } from "node:test";
import type { Aggregation, Series } from "@sheaf/telemetry";
import type { OwnFigures, TopFigures } from "./own-figures.ts";
import { SiteFigures } from "./site-figures.ts";

const series = (cpu: readonly (number | null)[], more: Partial<Series> = {}): Series => ({
  from: 0,
  stepMs: 10_000,
  rowMs: 10_000,
  values: { cpu },
  ...more,
});

function site(own: { series?: Series; top?: TopFigures }, others: readonly unknown[]): SiteFigures {
  const played: Pick<OwnFigures, "series" | "top"> = { series: async () => own.series ?? series([]), top: () => own.top ?? [] };
  return new SiteFigures(played as OwnFigures, { figures: async () => others }); // the two that are asked
}

const ask = (of: SiteFigures, by: Aggregation = "mean"): Promise<Series> =>
  of.series({ kind: "host", id: "h", metrics: ["cpu"], from: 0, to: 40_000, by });

test("a host that went from server to server is one series", async () => {
  const others = [series([null, null, 4, 6]), series([null, null, null, null])];
  for (const [by, joined] of [
    ["mean", 5],
    ["max", 6],
    ["min", 4],
    [{ percentile: 95 }, 6],
  ] as const)
    assert.deepEqual((await ask(site({ series: series([1, null, null, 4]) }, others), by)).values, { cpu: [1, null, 4, joined] });
});

test("of servers that keep other resolutions the one that has more is shown", async () => {
  const coarse = series([7, 8], { stepMs: 300_000 });
  assert.deepEqual(await ask(site({ series: series([null, 1, null]) }, [coarse])), coarse);
});

test("the greatest of all servers, each once", async () => {
  const figures = site(
    {
      top: [
        { id: "a", value: 5 },
        { id: "b", value: 4 },
      ],
    },
    [
      [
        { id: "b", value: 6 },
        { id: "c", value: 1 },
      ],
    ],
  );
  assert.deepEqual(await figures.top({ kind: "vm", metric: "cpu", windowMs: 1, by: "mean", count: 2 }, "everything"), [
    { id: "b", value: 6 },
    { id: "a", value: 5 },
  ]);
});
