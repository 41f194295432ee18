/** What would be, without doing it: every host for one machine, and where more machines of one kind would go. The snapshot is left as it was. */
import { rank } from "./place.ts";
import { planBatch } from "./plan-batch.ts";
import type { RankedHost } from "./placement-decision.ts";
import type { PlacementRequest } from "./placement-request.ts";
import { policyOf, policyWords, weighted } from "./policy-choice.ts";
import type { SnapshotIndex } from "./snapshot.ts";

export interface Explanation {
  /** `balanced`, or several with their weights. */
  readonly policy: string;
  /** Those that fit, best first; then the others, each with all that rules it out. */
  readonly hosts: readonly RankedHost[];
}

/** As if the machine had no host yet, while what it takes on the one it has does not count against itself. */
export function explain({ leave: _leave, ...request }: PlacementRequest, snapshot: SnapshotIndex): Explanation {
  return { policy: policyWords(weighted(policyOf([request], snapshot.table).policy)), hosts: rank(request, snapshot) };
}

export interface Creation {
  readonly placed: number;
  /** Hosts that would get some, most first. */
  readonly hosts: readonly { readonly host: string; readonly name: string; readonly machines: number }[];
  /** Why not all. */
  readonly refusal?: string;
}

/** `count` new machines like `request`, decided together. */
export function ifCreated(request: PlacementRequest, count: number, snapshot: SnapshotIndex): Creation {
  const requests = Array.from({ length: count }, (_, n) => ({ ...request, vm: `${request.vm}/${n}` }));
  const decided = planBatch(requests, snapshot);
  for (const one of decided) snapshot.release(one.request);
  const machines = new Map<string, number>();
  let refusal: string | undefined;
  for (const { decision } of decided) {
    if (decision.none) refusal ??= decision.reason;
    else machines.set(decision.host, (machines.get(decision.host) ?? 0) + 1);
  }
  const name = (host: string): string => snapshot.table.facts[snapshot.table.slotOf(host)]?.record.name ?? host;
  const hosts = [...machines].map(([host, its]) => ({ host, name: name(host), machines: its }));
  hosts.sort((a, b) => b.machines - a.machines || (a.name < b.name ? -1 : 1));
  const placed = hosts.reduce((sum, host) => sum + host.machines, 0);
  return { placed, hosts, ...(refusal === undefined ? {} : { refusal }) };
}
