/**
 * How well the balancer evens out clusters with hot spots, and by how many moves: beside it a search without regard to moves (simulated
 * annealing, from the cluster as it is and from the balancer's own plan), and the threshold balancers that peers have, brought as near to the
 * balancer's spread as they get. And how far clusters that do little are consolidated. `node bench/balancing.ts [--search-seconds N]`.
 */
import { parseArgs } from "node:util";
import { planBalance, type BalancePlan, type BalanceProblem } from "@sheaf/planning";
import { calmDay } from "./balancing/calm-day.ts";
import { patternDays } from "./balancing/daily-pattern.ts";
import { freeing } from "./balancing/freeing.ts";
import { bounds } from "./balancing/idle-cluster.ts";
import { hotSpotCluster } from "./balancing/instances.ts";
import { localSearch } from "./balancing/local-search.ts";
import { type Balanced, thresholdBalance } from "./balancing/threshold-balancer.ts";
import { atLeast, atMost, publish, rounded } from "./outcome.ts";

const { values } = parseArgs({ options: { "search-seconds": { type: "string", default: "60" } } });
const searchMs = Number(values["search-seconds"]) * 1000;
const sizes = [10, 30, 100, 300, 1000, 2000];
const seeds = [1, 2, 3];

const instances = sizes.flatMap((hosts) =>
  seeds.map((seed) => {
    const problem = hotSpotCluster(hosts, seed);
    planBalance(hotSpotCluster(10, seed)); // What is measured is not the compiler.
    const from = performance.now();
    const plan = planBalance(problem);
    const planMs = performance.now() - from;
    return { hosts, seed, problem, plan, planMs, overloaded: overloadedOnTheWay(problem, plan) };
  }),
);
const rows = instances.map(({ hosts, seed, problem, plan, planMs, overloaded }) => {
  const best = seed === 1 ? bestFound(problem, plan) : undefined;
  const quickest = hosts <= 300 ? nearestSpread(problem, plan, "quickest") : undefined;
  const nearest = hosts <= 300 ? nearestSpread(problem, plan, "nearest") : undefined;
  const row = {
    hosts,
    machines: problem.machines.length,
    seed,
    planMs: Math.round(planMs),
    moves: plan.moves.length,
    spreadBefore: rounded(plan.before.spreadPoints),
    spreadAfter: rounded(plan.after.spreadPoints),
    hottestBefore: rounded(plan.before.hottestPercent),
    hottestAfter: rounded(plan.after.hottestPercent),
    ...(best === undefined ? {} : { bestSpread: rounded(best), gapPercent: rounded(gapPercent(plan, best)) }),
    ...(quickest === undefined || nearest === undefined ? {} : { quickest: told(quickest), nearest: told(nearest) }),
    overloaded,
  };
  process.stderr.write(`${JSON.stringify(row)}\n`);
  return { ...row, movesRatio: quickest === undefined ? 0 : plan.moves.length / quickest.moves };
});
function told({ moves, spreadPoints }: Balanced) {
  return { moves, spread: rounded(spreadPoints) };
}

const largest = (figures: readonly (number | undefined)[]): number => Math.max(...figures.map((figure) => figure ?? 0));

const calmDays = (["hot-spots", "even"] as const).flatMap((goal) =>
  [2, 3].flatMap((seed) => [false, ...(seed === 2 ? [true] : [])].map((habits) => ({ goal, seed, habits, ...calmDay(goal, 50, seed, habits) }))),
);
const patterns = [1, 2, 3].flatMap((seed) => [false, true].map((forecast) => patternDays(30, seed, forecast)));
const hotMinutes = (forecast: boolean): number => patterns.reduce((sum, row) => sum + (row.forecast === forecast ? row.hotMinutes : 0), 0);
const freed = bounds.flatMap((bound) => [1, 2, 3, 4, 5].map((seed) => freeing(500, bound, 0.45, 0.85, seed)));
publish(
  [
    atLeast("use of the hosts that stay on, 500 at 45 % consolidated: worst cluster", Math.min(...freed.map((row) => row.usePercentAfter)), 82, "%"),
    atMost("moves ÷ the lower bound, 500 hosts consolidated: worst cluster", largest(freed.map((row) => row.moves / row.leastMoves)), 1.5, "×"),
    atMost("states on the way to a consolidated cluster that are not feasible", largest(freed.map((row) => row.infeasible)), 0, ""),
    atMost(
      "gap to the best spread that a search finds, of what can be gained: worst cluster",
      largest(rows.map(({ gapPercent }) => gapPercent)),
      5,
      "%",
    ),
    atMost(
      "moves ÷ those of a threshold balancer (quickest machine first): worst cluster",
      largest(rows.map(({ movesRatio }) => movesRatio)),
      0.5,
      "×",
    ),
    atMost("plan for 1,000 hosts", largest(rows.map(({ hosts, planMs }) => (hosts === 1000 ? planMs : 0))) / 1000, 5, "s"),
    atMost("moves that bring a host above its limit", largest(rows.map(({ overloaded }) => overloaded)), 0, ""),
    atMost("time of hosts above their limit with forecasts ÷ without, daily patterns", hotMinutes(true) / Math.max(1, hotMinutes(false)), 0.1, "×"),
    atMost("moves in 24 hours of noise, automatic mode", largest(calmDays.map(({ moves }) => moves)), 0, ""),
  ],
  { rows, calmDays, patterns, freed },
);

function bestFound(problem: BalanceProblem, plan: BalancePlan): number {
  const asItIs = Int32Array.from(problem.machines, ({ host }) => host);
  const planned = asItIs.slice();
  for (const { machine, to } of plan.moves) planned[machine] = to;
  return Math.min(localSearch(problem, asItIs, searchMs / 2, 1), localSearch(problem, planned, searchMs / 2, 2), plan.after.spreadPoints);
}

/** How much of the spread that can be taken away is left. */
function gapPercent({ before, after }: BalancePlan, best: number): number {
  return (100 * (after.spreadPoints - best)) / (before.spreadPoints - best);
}

/** Of all thresholds: the one that comes to our spread with the fewest moves; where none does, that with the least spread. */
function nearestSpread(problem: BalanceProblem, plan: BalancePlan, choice: "quickest" | "nearest"): Balanced {
  const tried = [0.1, 0.05, 0.03, 0.02, 0.015, 0.01, 0.0075, 0.005, 0.003, 0.002].map((threshold) => thresholdBalance(problem, threshold, choice));
  const asGood = tried.filter(({ spreadPoints }) => spreadPoints <= plan.after.spreadPoints).toSorted((a, b) => a.moves - b.moves);
  const [best] = asGood.length > 0 ? asGood : tried.toSorted((a, b) => a.spreadPoints - b.spreadPoints);
  return best ?? { moves: 0, spreadPoints: Number.NaN };
}

/** Moves after which a host is above 85 % that was not before, one after the other. */
function overloadedOnTheWay({ hosts, machines }: BalanceProblem, { moves }: BalancePlan): number {
  const [cpus, bytes] = [Float64Array.from(hosts, ({ usedCpus }) => usedCpus), Float64Array.from(hosts, ({ usedMemoryBytes }) => usedMemoryBytes)];
  const charge = (index: number, host: number, sign: 1 | -1): void => {
    cpus[host] = (cpus[host] ?? 0) + sign * (machines[index]?.usedCpus ?? 0);
    bytes[host] = (bytes[host] ?? 0) + sign * (machines[index]?.usedMemoryBytes ?? 0);
  };
  for (const [index, { host }] of machines.entries()) charge(index, host, 1);
  return moves.filter(({ machine, from, to }) => {
    charge(machine, from, -1);
    charge(machine, to, 1);
    const of = hosts[to];
    return of !== undefined && Math.max((cpus[to] ?? 0) / of.cpus, (bytes[to] ?? 0) / of.memoryBytes) > 0.85 + 1e-9;
  }).length;
}
