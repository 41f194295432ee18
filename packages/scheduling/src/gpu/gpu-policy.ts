/** How a policy for GPU requests is asked, and the decision for one request by one policy. Pure; the columns are not changed. */
import type { GpuDemand, GpuHosts } from "./gpu-hosts.ts";
import type { GpuRequest } from "./gpu-request.ts";

/** One request before a policy; `slot` is always a host where the demand fits. */
export interface GpuChoice {
  readonly demand: GpuDemand;
  /** Less is better. */
  cost(slot: number): number;
  /** The GPUs of that host that the request gets. */
  gpus(slot: number): readonly number[];
}

export interface GpuPolicy {
  readonly name: string;
  choice(request: GpuRequest): GpuChoice;
}

export interface GpuDecision {
  readonly slot: number;
  readonly host: string;
  /** Numbers of GPUs on the host; empty where none is wanted. */
  readonly gpus: readonly number[];
  readonly cost: number;
  /** Hosts where it fits. */
  readonly fitting: number;
}

/** O(hosts). Equal costs: the smaller host id. `undefined`: it fits nowhere. */
export function placeOnGpus(request: GpuRequest, hosts: GpuHosts, policy: GpuPolicy): GpuDecision | undefined {
  const choice = policy.choice(request);
  const { demand } = choice;
  let best = -1;
  let lowest = Number.POSITIVE_INFINITY;
  let fitting = 0;
  for (let slot = 0; slot < hosts.length; slot += 1) {
    if (!hosts.fits(demand, slot)) continue;
    fitting += 1;
    const cost = choice.cost(slot);
    if (best === -1 || cost < lowest || (cost === lowest && (hosts.ids[slot] ?? "") < (hosts.ids[best] ?? ""))) {
      best = slot;
      lowest = cost;
    }
  }
  return best === -1 ? undefined : { slot: best, host: hosts.ids[best] ?? "", gpus: choice.gpus(best), cost: lowest, fitting };
}
