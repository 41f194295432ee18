/**
 * Concludes from what is heard of the agents whether hosts are ready or unreachable. Sole writer of the hosts' part `status/liveness`, only
 * when it changes. Woken by connections, by hosts that appear, and by its own timer when silence would last too long.
 */
import { isAtRest, partKey } from "@sheaf/model";
import { planLiveness } from "@sheaf/planning";
import { commit } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { hostSilence } from "./host-silence.ts";
import type { Listening } from "./listening.ts";

export function livenessController(context: ControllerContext, listening: Listening): Controller {
  const { cache, agents, clock, logger } = context;
  return {
    name: "liveness",
    reads: ["host"],
    writes: ["host/status/liveness"],
    initialKeys: () => [...cache.all("host")].map((host) => host.id),
    keysFor: ({ kind, id, record, previous }) => (kind === "host" && (record?.status !== previous?.status || !previous) ? [id] : []),
    begin(enqueue) {
      const ends = [listening.begin(), agents.subscribe(({ hostId }) => enqueue(hostId))];
      return () => {
        for (const end of ends) end();
      };
    },
    async reconcile(hostId) {
      const host = cache.get("host", hostId);
      if (!host) return undefined;
      const plan = planLiveness({
        previous: host.status.liveness,
        reported: host.status.agent !== undefined,
        connected: agents.connected(hostId),
        lastHeardAt: agents.lastHeardAt(hostId),
        nowMonotonic: clock.monotonic(),
        listeningSince: listening.since,
        graceMs: hostSilence(host, context, listening).graceMs,
        atRest: isAtRest(host.status.power),
        now: clock.now(),
      });
      if (plan.write) {
        const { write } = plan;
        logger.info({ host: host.name, from: host.status.liveness?.state ?? "new", to: write.state, why: write.reason }, "a host's liveness changed");
        await commit(context, {
          compare: [{ key: partKey("host", hostId, "spec"), modRevision: host.specRevision }],
          then: [{ put: partKey("host", hostId, "status/liveness"), value: JSON.stringify(write) }],
        });
      }
      return plan.lookAgainMs;
    },
  };
}
