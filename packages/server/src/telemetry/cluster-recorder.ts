/** Keeps clusters' figures over time, on the server that leads: one row of each every ten seconds, as hosts and machines have. Made by the start-up code. */
import type { Clock } from "@sheaf/base";
import type { ClusterFigures } from "@sheaf/controllers";
import { figuresInOrder, metrics } from "@sheaf/model";
import { sampleMs, type Telemetry } from "@sheaf/telemetry";
import { lookEvery } from "../servers/look-every.ts";

export interface ClusterRecorderOptions {
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, "take">;
  readonly leads: () => boolean;
  readonly figures: () => ReadonlyMap<string, ClusterFigures>;
}

const numbers = Int16Array.from(metrics.cluster, (_, number) => number);

/** @returns what ends it */
export function recordClusters({ clock, telemetry, leads, figures }: ClusterRecorderOptions): { cancel(): void } {
  return lookEvery(clock, sampleMs, () => {
    if (!leads()) return;
    const now = clock.now();
    for (const [id, row] of figures())
      telemetry.take(now, id, Math.floor(now / sampleMs), [{ id, kind: "cluster", figures: figuresInOrder("cluster", row), numbers }]);
  });
}
