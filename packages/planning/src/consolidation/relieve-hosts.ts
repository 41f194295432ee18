/** Hosts that have too much to do give up machines, one after the other, until they have not. Called by the consolidation planner. */
import type { Fleet } from "./fleet.ts";
import type { HostLoad, PlannedMachine } from "./host-load.ts";

export function relieveHosts(fleet: Fleet): void {
  const hot = fleet.awake.filter((load) => fleet.isHot(load)).toSorted((a, b) => expected(b) - expected(a));
  for (const source of hot) while (fleet.movesLeft > 0 && fleet.isHot(source) && relieveOnce(fleet, source, hot));
}

/** @returns whether a machine moved */
function relieveOnce(fleet: Fleet, source: HostLoad, hot: readonly HostLoad[]): boolean {
  const candidates = ranked(fleet, source);
  const percent = Math.round(expected(source) * 100);
  const asked = `${source.host.id} is ${source.now < source.level ? "expected to be " : ""}asked for ${percent} % of its CPU`;
  for (const planned of candidates) {
    const target = roomiest(fleet, planned, hot);
    if (target === undefined) continue;
    relieve(fleet, planned, source, target, `${asked}; ${target.host.id} has the most room left`);
    return true;
  }
  for (const planned of candidates) {
    const woken = fleet.wakeOne(`${asked}, and no host that is awake has room`, (load) => fleet.shareWith(load, planned) !== undefined);
    if (woken === undefined) continue;
    relieve(fleet, planned, source, woken, `${asked}; no host that was awake has room`);
    return true;
  }
  return false;
}

function relieve(fleet: Fleet, planned: PlannedMachine, source: HostLoad, target: HostLoad, reason: string): void {
  const { level } = planned.forecast;
  const savedWatts = source.watts() - source.watts(-level) - (target.watts(level) - target.watts());
  const gainJoules = savedWatts * fleet.options.horizonSeconds - fleet.costJoules(planned);
  fleet.move(planned, source, target, { cause: "relief", reason, gainJoules });
}

/** Those that are enough alone, the cheapest to move first; then the others, that with the most demand first. */
function ranked(fleet: Fleet, source: HostLoad): PlannedMachine[] {
  const movable = [...source.machines].filter((planned) => fleet.movable(planned));
  const enough = movable.filter(({ forecast }) => !fleet.isHot(source, forecast));
  const others = movable.filter(({ forecast }) => fleet.isHot(source, forecast));
  return [
    ...enough.toSorted((a, b) => fleet.costJoules(a) - fleet.costJoules(b) || b.forecast.level - a.forecast.level),
    ...others.toSorted((a, b) => b.forecast.now - a.forecast.now),
  ];
}

/** Of those that take it, the one with the most room: what had to move shall not have to move again soon. One without machines is the last resort. */
function roomiest(fleet: Fleet, planned: PlannedMachine, hot: readonly HostLoad[]): HostLoad | undefined {
  let best: HostLoad | undefined;
  let least = Infinity;
  for (const load of fleet.awake) {
    if (hot.includes(load)) continue;
    const share = fleet.shareWith(load, planned);
    if (share === undefined) continue;
    const rank = load.machines.size === 0 ? share + emptyHandicap : share;
    if (rank >= least) continue;
    best = load;
    least = rank;
  }
  return best;
}

/** More than any share. */
const emptyHandicap = 2;

const expected = (load: HostLoad): number => Math.max(load.now, load.level) / load.host.cpuMillicores;
