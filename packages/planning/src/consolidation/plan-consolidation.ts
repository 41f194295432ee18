/**
 * Which machines move so that none has too little and hosts may sleep: (snapshot) → hosts to wake, ordered moves, hosts to put to sleep, each
 * with its reason. First hot hosts give machines up, then hosts are emptied where that pays. Pure; same input, same answer, in whatever order
 * hosts and machines come. Keeps no memory: what moved not long ago is said by `movable`.
 */
import { type ConsolidationInput, type ConsolidationPlan, type HostChange, consolidationDefaults } from "./consolidation-input.ts";
import { emptyHosts } from "./empty-hosts.ts";
import { Fleet, wattsPerMillicore } from "./fleet.ts";
import { relieveHosts } from "./relieve-hosts.ts";

export function planConsolidation(input: ConsolidationInput): ConsolidationPlan {
  const fleet = new Fleet(input, { ...consolidationDefaults, ...input.options });
  relieveHosts(fleet);
  emptyHosts(fleet);
  const sleep = sleepOrSpare(fleet);
  return { wake: fleet.wake, moves: fleet.moves, sleep };
}

/** Of the hosts without machines so many stay awake as are wanted as spares; where there are too few, sleeping ones are woken. */
function sleepOrSpare(fleet: Fleet): HostChange[] {
  const { spareHosts } = fleet.options;
  const empty = fleet.awake
    .filter(({ host, machines }) => host.usable && machines.size === 0)
    .toSorted((a, b) => wattsPerMillicore(a) - wattsPerMillicore(b));
  for (let missing = spareHosts - empty.length; missing > 0; missing -= 1) fleet.wakeOne("it is kept awake as a spare", () => true);
  return empty.slice(spareHosts).map(({ host }) => ({ host: host.id, reason: "it has no machine" }));
}
