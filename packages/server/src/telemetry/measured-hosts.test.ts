import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import type { Measured } from "@sheaf/scheduling";
import type { TopQuestion } from "@sheaf/telemetry";
import { type MeasuredHostsOptions, measureHosts } from "./measured-hosts.ts";

test("the scheduler is told what hosts use, in percent, and forgets who is not measured any more", async () => {
  const clock = new SimulatedClock();
  const told: [string, Measured][] = [];
  let cpu = [
    { id: "a", value: 0.42 },
    { id: "b", value: 0.1 },
  ];
  const asked: TopQuestion[] = [];
  const hosts: Readonly<Record<string, unknown>> = { a: { status: { agent: { memoryBytes: 200 } } }, b: { status: {} } };
  const measuring = measureHosts({
    ...{ clock, logger: silentLogger },
    cache: { get: (_kind: string, id: string) => hosts[id], count: () => 2 } as unknown as MeasuredHostsOptions["cache"], // what is looked at of it
    figures: {
      top: async (question) => {
        asked.push(question);
        return question.metric === "cpu" ? cpu : [{ id: "a", value: 50 }];
      },
    },
    snapshot: { measure: (id, figures) => told.push([id, figures]) },
  });
  await clock.advance(30_000);
  assert.deepEqual(told.splice(0), [
    ["a", { cpuPercent: 42, memoryPercent: 25 }],
    ["b", { cpuPercent: 10 }],
  ]);
  assert.deepEqual(
    asked.map(({ kind, metric, count }) => [kind, metric, count]),
    [
      ["host", "cpu", 2],
      ["host", "memoryUsedBytes", 2],
    ],
  );
  cpu = cpu.slice(0, 1);
  await clock.advance(30_000);
  assert.deepEqual(told.splice(0).at(-1), ["b", {}]);
  measuring.cancel();
  await clock.advance(60_000);
  assert.deepEqual(told, []);
});
