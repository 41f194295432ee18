/** Keeps the hosts able to take whatever may come: the machine goes where it takes least from the machines that are likely to be asked for next. */
import type { ScoringPolicy } from "../scoring-policy.ts";
import { headroomLoss } from "./headroom-loss.ts";

export const fragmentation: ScoringPolicy = {
  name: "fragmentation",
  keepsGpuHosts: true,
  summary: "The host where the machine takes least room from those likely to come next, and from whole hosts.",
  scorer: (world) => {
    const loss = headroomLoss(world);
    return {
      score: (slot, floor) => -loss(slot, -floor),
      parts: (slot) => ({ headroom: -loss(slot, Number.POSITIVE_INFINITY) }),
    };
  },
};
