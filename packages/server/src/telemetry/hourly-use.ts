/** What machines used hour by hour, from the figures kept over time, for forecasts. Made by the start-up code. */
import type { Clock } from "@sheaf/base";
import type { UseHistory } from "@sheaf/controllers";
import type { SiteTelemetry } from "../context.ts";

const hourMs = 3_600_000;

/** The hour that runs is left out: it is not known yet. */
export const hourlyUse = (telemetry: Pick<SiteTelemetry, "series">, clock: Clock): UseHistory => ({
  async hourlyCpus(id, hours) {
    const to = Math.floor(clock.now() / hourMs) * hourMs;
    const { from, values } = await telemetry.series({ kind: "vm", id, metrics: ["cpu"], from: to - hours * hourMs, to, stepMs: hourMs, by: "mean" });
    return { firstHour: Math.floor(from / hourMs), values: (values["cpu"] ?? []).map((figure) => figure ?? Number.NaN) };
  },
});
