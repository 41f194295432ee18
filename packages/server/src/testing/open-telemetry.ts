/** Real telemetry files in a folder that is gone with the test. For tests alone. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { NodeFiles } from "@sheaf/adapters";
import { silentLogger } from "@sheaf/base";
import { Telemetry, telemetryShapes } from "@sheaf/telemetry";

/** @param now wall clock, ms */
export async function openTelemetry(t: Pick<TestContext, "after">, now: number): Promise<Telemetry> {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-telemetry-"));
  const telemetry = await Telemetry.open({ files: new NodeFiles(), logger: silentLogger, directory, shape: telemetryShapes.full }, now);
  t.after(async () => {
    await telemetry.close();
    await rm(directory, { recursive: true });
  });
  return telemetry;
}
