/** Figures go to the disk while the server runs, failures are told and tried again, and `/metrics` says how it stands. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NodeFiles } from "@sheaf/adapters";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import { telemetryShapes } from "@sheaf/telemetry";
import { Registry } from "prom-client";
import { until } from "../gateway/gateway.test-support.ts";
import { TelemetryKeeper } from "./telemetry-keeper.ts";

const host = "0199bbbb-0000-7000-8000-000000000001";

test("a window that is over is on the disk soon, also after the disk took nothing for a while", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-telemetry-"));
  t.after(() => rm(directory, { recursive: true }));
  const clock = new SimulatedClock();
  const errors: string[] = [];
  const logger = { ...silentLogger, error: (_fields: object, text: string) => void errors.push(text) };
  const files = new NodeFiles();
  let full = true;
  const writer = files.writer.bind(files);
  t.mock.method(files, "writer", (...place: Parameters<typeof writer>) => (full ? Promise.reject(new Error("ENOSPC")) : writer(...place)));
  const keeper = await TelemetryKeeper.start({ files, logger, clock, directory, shape: telemetryShapes.full });
  const registry = new Registry();
  keeper.expose(registry);
  const first = Math.ceil(clock.now() / 300_000) * 30;
  const numbers = Int16Array.of(0);
  for (let slot = first; slot < first + 31; slot += 1) {
    await clock.advance(slot * 10_000 - clock.now());
    keeper.telemetry.take(clock.now(), host, slot, [{ id: host, kind: "host", figures: [500], numbers }]);
  }
  const failures = async (): Promise<number> => Number(/^sheaf_telemetry_write_failures_total (\d+)$/m.exec(await registry.metrics())?.[1]);
  for (let turn = 0; turn < 3; turn += 1) {
    const before = await failures();
    await clock.advance(5000);
    await until("the failure", () => errors.length > 0);
    while ((await failures()) === before) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(errors.length, 1, "said once");
  assert.equal(keeper.telemetry.durableUpTo(host), -1);
  full = false;
  await clock.advance(5000);
  await until("the window to be on the disk", () => keeper.telemetry.durableUpTo(host) === first + 29);
  const text = await registry.metrics();
  assert.match(text, /^sheaf_telemetry_members 1$/m);
  assert.match(text, /^sheaf_telemetry_rows_total 31$/m);
  assert.match(text, /^sheaf_telemetry_disk_bytes [1-9]\d*$/m);
  await keeper.stop();
});
