/**
 * The baselines, as CloudSim 3.0.3 has them: hosts that a detector finds overloaded give up machines, those with the least RAM first (minimum
 * migration time), until it finds them so no more; then the least loaded hosts are emptied where all their machines find room; targets
 * are the hosts whose power grows least, for the machines that ask for most first (power-aware best fit decreasing).
 */
import { type Move, type Policy, type View, gone } from "./experiment.ts";
import type { HostModel, Machine } from "./fleet.ts";
import { lineAt } from "./regression.ts";
import { type Load, TrialHost } from "./trial-placement.ts";

export type Overloaded = (host: TrialHost) => boolean;

/** THR: more than this share of its CPU is asked for. */
export const overThreshold =
  (share: number): Overloaded =>
  (host) =>
    host.asked / host.model.mips > share;

const regressionLength = 10;
const thresholdBefore = overThreshold(0.7);

/**
 * LRR: the line through the last ten loads reaches 1 at the end of a migration, with a safety factor. CloudSim weighs the points only where
 * two fifths of the weights are zero, which never happens: what it calls robust is the plain line. Before ten loads are known: THR of 0.7.
 */
export const overByRegression =
  (safety: number): Overloaded =>
  (host) => {
    const { history, model } = host;
    if (history.length < regressionLength || history.includes(0)) return thresholdBefore(host);
    // One step ahead: no migration of this experiment takes longer.
    return (lineAt(regressionLength + 1, history) / model.mips) * safety >= 1;
  };

/** Each machine's host, placed one after the other by the size that was asked for. Throws where one finds none. */
export function placeBySize(machines: readonly Machine[], hosts: readonly HostModel[]): Int32Array {
  const trial = hosts.map((model, index) => new TrialHost(index, model, 0, []));
  const ramMb = new Float64Array(hosts.length);
  return Int32Array.from(machines, (each, machine) => {
    const load: Load = { machine, mips: each.mips, ramMb: each.ramMb, history: new Float64Array() };
    const host = leastPower(trial, load, ({ index, model }) => (ramMb[index] ?? 0) + each.ramMb <= model.ramMb);
    if (host === undefined) throw new Error(`Machine ${machine} finds no host.`);
    host.add(load);
    ramMb[host.index] = (ramMb[host.index] ?? 0) + each.ramMb;
    return host.index;
  });
}

export const powerAware =
  (overloaded: Overloaded): Policy =>
  (view) => {
    const trial = trialHosts(view);
    const hot = new Set(trial.filter(overloaded));
    const asleep = trial.filter(({ loadBefore }) => loadBefore === 0);
    const evicted = [...hot].flatMap((host) => evict(host, overloaded));
    const cool = trial.filter((host) => !hot.has(host));
    const relieved = settle(evicted, cool, overloaded).moves;
    return [...relieved, ...emptyLeastLoaded(trial, [...hot, ...asleep], overloaded)];
  };

function trialHosts({ hosts, hostOf, machines, seen }: View): TrialHost[] {
  const residents: Load[][] = hosts.map(() => []);
  let historyLength = 0;
  for (const [machine, { ramMb }] of machines.entries()) {
    const host = hostOf[machine] ?? gone;
    if (host === gone) continue;
    const demand = seen(machine);
    // What was asked for at time 0 was not seen.
    const history = demand.subarray(Math.max(1, demand.length - regressionLength));
    historyLength = history.length;
    residents[host]?.push({ machine, mips: demand.at(-1) ?? 0, ramMb, history });
  }
  return hosts.map((model, index) => new TrialHost(index, model, historyLength, residents[index] ?? []));
}

function evict(host: TrialHost, overloaded: Overloaded): Load[] {
  const evicted: Load[] = [];
  do {
    const [first, ...others] = host.loads;
    if (first === undefined) break;
    const load = others.reduce((least, each) => (each.ramMb < least.ramMb ? each : least), first);
    host.remove(load);
    evicted.push(load);
  } while (overloaded(host));
  return evicted;
}

function settle(loads: Iterable<Load>, targets: readonly TrialHost[], overloaded: Overloaded): { moves: Move[]; homeless: number; undo: () => void } {
  const settled: { load: Load; host: TrialHost }[] = [];
  let homeless = 0;
  for (const load of [...loads].toSorted((a, b) => b.mips - a.mips)) {
    const host = leastPower(targets, load, (each) => each.usedMips === 0 || !overloadedWith(each, load, overloaded));
    if (host === undefined) {
      homeless += 1;
      continue;
    }
    host.add(load);
    settled.push({ load, host });
  }
  return {
    moves: settled.map(({ load, host }) => ({ machine: load.machine, host: host.index })),
    homeless,
    undo: () => {
      for (const { load, host } of settled) host.remove(load);
    },
  };
}

function emptyLeastLoaded(trial: readonly TrialHost[], never: readonly TrialHost[], overloaded: Overloaded): Move[] {
  const moves: Move[] = [];
  const noSource = new Set(never);
  const noTarget = new Set(never);
  for (const source of trial.toSorted((a, b) => a.loadBefore - b.loadBefore)) {
    if (noSource.has(source) || source.loadBefore >= 1) continue;
    noTarget.add(source);
    const targets = trial.filter((host) => !noTarget.has(host));
    const { moves: settled, homeless, undo } = settle(source.loads, targets, overloaded);
    if (homeless > 0) {
      undo();
      continue;
    }
    for (const host of targets) if (settled.some((move) => move.host === host.index)) noSource.add(host);
    moves.push(...settled);
  }
  return moves;
}

/** The first one whose power grows least, of those that have the CPU and that `may` allows. */
function leastPower(hosts: readonly TrialHost[], load: Load, may: (host: TrialHost) => boolean): TrialHost | undefined {
  let best: TrialHost | undefined;
  let least = Infinity;
  for (const host of hosts) {
    if (!host.canTake(load)) continue;
    const watts = host.wattsMore(load);
    if (watts >= least || !may(host)) continue;
    best = host;
    least = watts;
  }
  return best;
}

function overloadedWith(host: TrialHost, load: Load, overloaded: Overloaded): boolean {
  host.add(load);
  const result = overloaded(host);
  host.remove(load);
  return result;
}
