/**
 * Hosts whose machines all find room on others are emptied, where what is saved over the horizon is more than the moves cost. Called by the
 * consolidation planner.
 */
import { type Fleet, wattsPerMillicore } from "./fleet.ts";
import type { HostLoad, PlannedMachine } from "./host-load.ts";

export function emptyHosts(fleet: Fleet): void {
  const sources = fleet.awake
    .filter(({ host, machines }) => host.usable && machines.size > 0)
    .map((load) => ({ load, wattsEach: wattsPerMillicore(load), costJoules: totalCost(fleet, load.machines) }))
    // Those that do least for a watt; of these, those whose moves cost least.
    .toSorted((a, b) => b.wattsEach - a.wattsEach || a.costJoules - b.costJoules || a.load.level - b.load.level);
  // A host that took machines in this plan stays: nothing moves twice.
  for (const { load } of sources) if (!fleet.touched(load)) emptyOne(fleet, load);
}

function emptyOne(fleet: Fleet, source: HostLoad): void {
  const machines = [...source.machines].toSorted((a, b) => b.forecast.level - a.forecast.level);
  if (machines.length > fleet.movesLeft || !machines.every((planned) => fleet.movable(planned))) return;
  const settled = settle(fleet, machines, source);
  if (settled === undefined) return;
  const savedWatts = source.watts() - settled.addedWatts;
  const gainJoules = savedWatts * fleet.options.horizonSeconds - totalCost(fleet, machines);
  if (gainJoules <= 0) return;
  const reason = `${source.host.id} can sleep: its machines, ${machines.length} in number, fit onto others, which saves ${Math.round(savedWatts)} W`;
  for (const [planned, target] of settled.targets)
    fleet.move(planned, source, target, { cause: "emptying", reason, gainJoules: gainJoules / machines.length });
}

/** A target for every machine, and what they draw more; `undefined`: one finds none. The fleet is as before afterwards. */
function settle(fleet: Fleet, machines: readonly PlannedMachine[], source: HostLoad) {
  const targets = new Map<PlannedMachine, HostLoad>();
  let addedWatts = 0;
  for (const planned of machines) {
    const target = tightest(fleet, planned, source);
    if (target === undefined) break;
    addedWatts += target.watts(planned.forecast.level) - target.watts();
    target.add(planned);
    targets.set(planned, target);
  }
  for (const [planned, target] of targets) target.remove(planned);
  return targets.size === machines.length ? { targets, addedWatts } : undefined;
}

/** Of those that take it and have machines, the ones that do most for a watt; of these, the one that is fullest then: what room there is stays together. */
function tightest(fleet: Fleet, planned: PlannedMachine, source: HostLoad): HostLoad | undefined {
  let best: HostLoad | undefined;
  let bestWatts = Infinity;
  let most = -Infinity;
  for (const load of fleet.awake) {
    const watts = wattsPerMillicore(load);
    if (load === source || load.machines.size === 0 || watts > bestWatts) continue;
    const share = fleet.shareWith(load, planned);
    if (share === undefined || (watts === bestWatts && share <= most)) continue;
    best = load;
    bestWatts = watts;
    most = share;
  }
  return best;
}

function totalCost(fleet: Fleet, machines: Iterable<PlannedMachine>): number {
  let joules = 0;
  for (const planned of machines) joules += fleet.costJoules(planned);
  return joules;
}
