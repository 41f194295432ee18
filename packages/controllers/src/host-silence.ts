/** How long a host has been silent for this server, and how much silence is put up with. One answer for liveness and fencing. */
import type { RecordOf } from "@sheaf/model";
import { suspicionMs } from "@sheaf/planning";
import type { ControllerContext } from "./context.ts";
import type { Listening } from "./listening.ts";
import { clusterOf } from "./records.ts";

export interface HostSilence {
  readonly silentMs: number;
  /** Silence from which on it counts as lost. */
  readonly graceMs: number;
}

export function hostSilence(host: RecordOf<"host">, context: ControllerContext, listening: Listening): HostSilence {
  const { agents, cache, clock, settings } = context;
  const heardOrBegan = Math.max(agents.lastHeardAt(host.id) ?? listening.since, listening.since);
  const detection = clusterOf(host, cache)?.spec.highAvailability.detection ?? "default";
  return {
    silentMs: clock.monotonic() - heardOrBegan,
    graceMs: suspicionMs(settings.unreachableAfterMs[detection], agents.jitterMs(host.id)),
  };
}
