import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "@sheaf/base";
import { openTelemetry } from "../testing/open-telemetry.ts";
import { recordClusters } from "./cluster-recorder.ts";

const cluster = "0199cccc-0000-7000-8000-000000000001";

test("while this server leads clusters have one row in ten seconds, found again under their names", async (t) => {
  const clock = new SimulatedClock();
  await clock.advance(10_000 - (clock.now() % 10_000));
  const telemetry = await openTelemetry(t, clock.now());
  let leads = true;
  let level = 0.25;
  const figures = () => new Map([[cluster, { hottestHost: 0.9, spread: 0.125, level, cpu: level, memory: 0.1, hosts: 3 }]]);
  const recording = recordClusters({ clock, telemetry, leads: () => leads, figures });
  const first = Math.ceil(clock.now() / 300_000) * 300_000;
  await clock.advance(first + 60_000 - clock.now());
  leads = false;
  await clock.advance(30_000);
  [leads, level] = [true, 0.5];
  await clock.advance(20_000);
  recording.cancel();
  await clock.advance(30_000);
  const question = {
    kind: "cluster",
    id: cluster,
    metrics: ["level", "hosts"],
    from: first,
    to: first + 120_000,
    stepMs: 10_000,
    by: "mean",
  } as const;
  const { values } = await telemetry.series(question);
  const gap = [null, null, null];
  assert.deepEqual(values["level"], [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, ...gap, 0.5, 0.5]);
  assert.equal(values["hosts"]?.[0], 3);
});
