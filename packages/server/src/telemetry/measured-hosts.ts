/** Tells the scheduler's picture of the site what hosts really use, from the figures of the last minutes on whichever server has them. Made by the start-up code. */
import type { Clock, Logger } from "@sheaf/base";
import type { Measured } from "@sheaf/scheduling";
import type { RecordCache, SiteTelemetry } from "../context.ts";
import { lookEvery } from "../servers/look-every.ts";

export interface MeasuredHostsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cache: Pick<RecordCache, "get" | "count">;
  readonly figures: Pick<SiteTelemetry, "top">;
  readonly snapshot: { measure(hostId: string, figures: Measured): void };
}

const everyMs = 30_000;
/** The running five minutes and those before. */
const windowMs = 300_000;

/** @returns what ends it */
export function measureHosts(options: MeasuredHostsOptions): { cancel(): void } {
  const { clock, logger } = options;
  let asking = false;
  /** Who was measured last: whoever is not any more is forgotten. */
  let before: ReadonlySet<string> = new Set();
  return lookEvery(clock, everyMs, () => {
    if (asking) return;
    asking = true;
    void measure(options, before)
      .then((measured) => (before = measured))
      .catch((error: unknown) => logger.warn({ error: String(error) }, "what hosts use could not be told to the scheduler"))
      .finally(() => (asking = false));
  });
}

async function measure({ cache, figures, snapshot }: MeasuredHostsOptions, before: ReadonlySet<string>): Promise<ReadonlySet<string>> {
  const means = async (metric: string): Promise<ReadonlyMap<string, number>> => {
    const found = await figures.top({ kind: "host", metric, windowMs, by: "mean", count: cache.count("host") }, "everything");
    return new Map(found.map(({ id, value }) => [id, value]));
  };
  const [cpu, memory] = await Promise.all([means("cpu"), means("memoryUsedBytes")]);
  for (const [id, share] of cpu) {
    const installed = cache.get("host", id)?.status.agent?.memoryBytes ?? 0;
    const used = memory.get(id);
    snapshot.measure(id, {
      cpuPercent: share * 100,
      ...(used === undefined || installed <= 0 ? {} : { memoryPercent: Math.min(100, (used / installed) * 100) }),
    });
  }
  for (const id of before) if (!cpu.has(id) && cache.get("host", id) !== undefined) snapshot.measure(id, {});
  return new Set(cpu.keys());
}
