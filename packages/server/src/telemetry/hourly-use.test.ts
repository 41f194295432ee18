import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { openTelemetry } from "../testing/open-telemetry.ts";
import { hourlyUse } from "./hourly-use.ts";

const vm = "0199aaaa-0000-7000-8000-000000000001";
const host = "0199bbbb-0000-7000-8000-000000000001";
const hourMs = 3_600_000;

test("hours that are over come in order, each at its time; what was not measured is not a number", async (t) => {
  const clock = new SimulatedClock();
  const start = Math.ceil(clock.now() / hourMs) * hourMs;
  const telemetry = await openTelemetry(t, start);
  for (let at = start; at < start + 4.5 * hourMs; at += 60_000) {
    const hour = Math.floor((at - start) / hourMs);
    if (hour !== 1) telemetry.take(at, host, at / 10_000, [{ id: vm, kind: "vm", figures: [1000 * (hour + 1)], numbers: Int16Array.of(0) }]);
  }
  await clock.advance(start + 4.5 * hourMs - clock.now());
  const { firstHour, values } = await hourlyUse({ series: (question) => telemetry.series(question) }, clock).hourlyCpus(vm, 5);
  assert.equal(firstHour, start / hourMs - 1);
  assert.deepEqual([...Array.from(values)], [Number.NaN, 1, Number.NaN, 3, 4]);
});
