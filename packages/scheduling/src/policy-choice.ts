/** Which policy decides for a request, and hosts scored by it: by one policy, or by several whose scores are brought to one scale first. */
import { defaultPlacementPolicy, type PlacementPolicy, type PlacementPolicyName } from "@sheaf/model";
import { policies } from "./policies/registry.ts";
import type { HostTable } from "./host-table.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { ScoringPolicy } from "./scoring-policy.ts";

export type WeightedPolicies = readonly { readonly policy: ScoringPolicy; readonly weight: number }[];

/** `weights` without those of nothing; the sum of what is left is 1. */
export function weighted(policy: PlacementPolicy): WeightedPolicies {
  if (typeof policy === "string") return [{ policy: policies[policy], weight: 1 }];
  // Its keys are checked where it comes in.
  const given = (Object.entries(policy) as [PlacementPolicyName, number][]).filter(([, weight]) => weight > 0);
  const sum = given.reduce((total, [, weight]) => total + weight, 0);
  return given.map(([name, weight]) => ({ policy: policies[name], weight: weight / sum }));
}

/** `pack`, or `pack 70 %, energy 30 %` */
export function policyWords(of: WeightedPolicies): string {
  const [only] = of;
  if (of.length === 1 && only !== undefined) return only.policy.name;
  return of.map(({ policy, weight }) => `${policy.name} ${Math.round(100 * weight)} %`).join(", ");
}

/**
 * The machine's own; else that of the cluster it asks for; else, where all clusters have the same, that one.
 * @returns `decided: false` where the default chooses the cluster, and then the cluster's policy the host
 */
export function policyOf(requests: readonly PlacementRequest[], table: HostTable): { readonly policy: PlacementPolicy; readonly decided: boolean } {
  for (const { policy } of requests) if (policy !== undefined) return { policy, decided: true };
  for (const { cluster } of requests) if (cluster !== undefined) return { policy: clusterPolicy(cluster, table), decided: true };
  const common = commonPolicy(table);
  return common === undefined ? { policy: defaultPlacementPolicy, decided: false } : { policy: common, decided: true };
}

export const clusterPolicy = (reference: string, table: HostTable): PlacementPolicy =>
  // Older records do not have it.
  (table.cluster(reference)?.spec.placementPolicy as PlacementPolicy | undefined) ?? defaultPlacementPolicy;

/** O(clusters). */
function commonPolicy(table: HostTable): PlacementPolicy | undefined {
  let common: PlacementPolicy | undefined;
  for (const { id } of table.clusters()) {
    const policy = clusterPolicy(id, table);
    if (common !== undefined && !samePolicy(common, policy)) return undefined;
    common = policy;
  }
  return common ?? defaultPlacementPolicy;
}

export const samePolicy = (a: PlacementPolicy, b: PlacementPolicy): boolean => a === b || JSON.stringify(a) === JSON.stringify(b);
