/**
 * While there is plenty, machines are spread by use; as it gets tight, what counts is that the next machines still fit. Both terms are always
 * there: the weight of use falls to nothing when half of what may be promised is.
 */
import { fullerShare, type ScoringPolicy } from "../scoring-policy.ts";
import { headroomLoss } from "./headroom-loss.ts";

const useWeight = 0.3;
/** Share promised at which use counts no more. */
const plentyUntil = 0.5;

export const balanced: ScoringPolicy = {
  name: "balanced",
  summary: "Spreads while there is plenty; as room gets scarce, keeps it in the sizes that are asked for.",
  scorer: (world) => {
    const loss = headroomLoss(world);
    const weight = useWeight * Math.max(0, 1 - world.headroom().promised / plentyUntil) ** 2;
    return {
      score: (slot, floor) => {
        const use = weight * fullerShare(world, slot);
        return -use - loss(slot, -floor - use);
      },
      parts: (slot) => ({ use: -weight * fullerShare(world, slot), headroom: -loss(slot, Number.POSITIVE_INFINITY) }),
    };
  },
};
