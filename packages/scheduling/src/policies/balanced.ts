/**
 * While there is plenty, machines are spread by use; as it gets tight, what counts is that the next machines still fit. Both terms are always
 * there: the weight of use falls until half of what may be promised is; what is left of it evens out hosts that are as good as each other.
 */
import { fullerShare, type ScoringPolicy } from "../scoring-policy.ts";
import { headroomLoss } from "./headroom-loss.ts";

const useWeight = 0.3;
/** Share promised at which there is no plenty any more. */
const plentyUntil = 0.5;
/** What is left of the weight then, divided by the hosts: the loss of room for the next machines is smaller the more hosts there are, too. */
const evenWeight = 0.1;
/** More than what a sum of such terms is rounded by: hosts that are equal must be scored to the end, or the first one seen would win. */
const rounding = 1e-9;

export const balanced: ScoringPolicy = {
  name: "balanced",
  keepsGpuHosts: true,
  summary: "Spreads while there is plenty; as room gets scarce, keeps it in the sizes that are asked for.",
  scorer: (world) => {
    const loss = headroomLoss(world);
    const { promised, hosts } = world.headroom();
    const weight = useWeight * Math.max(0, 1 - promised / plentyUntil) ** 2 + evenWeight / Math.max(1, hosts);
    return {
      score: (slot, floor) => {
        const use = weight * fullerShare(world, slot);
        const most = -floor - use + rounding;
        // Said here, most hosts cost no call: numbers that go in and out of one are objects to the collector.
        return most < 0 ? Number.NEGATIVE_INFINITY : -use - loss(slot, most);
      },
      parts: (slot) => ({ use: -weight * fullerShare(world, slot), headroom: -loss(slot, Number.POSITIVE_INFINITY) }),
    };
  },
};
