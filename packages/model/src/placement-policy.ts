/** By which rule hosts are chosen among those that fit: one of the named policies, or several by weight. What each does: docs/reference/scheduling.md. */
import { z } from "zod";

export const placementPolicyNames = ["balanced", "spread", "pack", "fragmentation", "energy", "priority", "article"] as const;
export const PlacementPolicyName = z.enum(placementPolicyNames);
export type PlacementPolicyName = z.infer<typeof PlacementPolicyName>;

export const PlacementPolicy = z.union([
  PlacementPolicyName,
  z
    .partialRecord(PlacementPolicyName, z.number().min(0).max(100))
    .refine((weights) => Object.values(weights).some((weight) => weight > 0), "must give at least one policy a weight"),
]);
export type PlacementPolicy = z.infer<typeof PlacementPolicy>;

/** For machines, and hosts, whose cluster says nothing. */
export const defaultPlacementPolicy = "balanced" satisfies PlacementPolicy;
