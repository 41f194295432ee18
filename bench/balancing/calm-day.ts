/**
 * A day of a cluster in which nothing is wrong: loads rise and fall with the hours, jump for seconds and wander for minutes, and no host is hot
 * for long. Whatever is moved then is thrashing. Readings come every 15 s as on a server; looks every 30 s, as automatic mode has them.
 */
import { ClusterBalancing } from "@sheaf/model";
import { balanceDue, balanceScore, lookAhead, planBalance, UseBook, weekProfile, type BalanceProblem, type Unease } from "@sheaf/planning";
import { seededRandom } from "../random.ts";
import { hotSpotCluster } from "./instances.ts";

export interface CalmDay {
  readonly moves: number;
  /** Of the smoothed use that decisions are made on, and of the readings themselves. */
  readonly hottestPercent: number;
  readonly hottestReadingPercent: number;
}

const readingMs = 15_000;

/** @param habits two weeks of the same are known */
export function calmDay(goal: "even" | "hot-spots", hostCount: number, seed: number, habits: boolean, hours = 24): CalmDay {
  const settings = ClusterBalancing.parse({ mode: "automatic", goal });
  const random = seededRandom(seed);
  // Busy enough that single readings pass the limit: whoever acts on those thrashes.
  const drawn = hotSpotCluster(hostCount, seed);
  const uneven = { ...drawn, machines: drawn.machines.map((machine) => ({ ...machine, usedCpus: 2 * machine.usedCpus })) };
  // It begins as even as a plan leaves it.
  const hostOf = uneven.machines.map(({ host }) => host);
  for (const { machine, to } of planBalance(uneven).moves) hostOf[machine] = to;
  const { hosts, machines } = uneven;
  const wandering = new Float64Array(machines.length);
  const book = new UseBook();
  let unease: Unease = {};
  let [moves, hottest, hottestReading] = [0, 0, 0];
  const gauss = (): number => random() + random() + random() + random() - 2;
  const hourFactor = (at: number): number => 1 + 0.15 * Math.sin((2 * Math.PI * at) / 86_400_000);
  // Means of hours wander by so much.
  const hourly = (used: number, hour: number): number => used * hourFactor((hour + 0.5) * 3_600_000) * (1 + 0.1 * gauss());
  if (habits)
    for (const { id, usedCpus } of machines)
      book.learn(id, weekProfile({ firstHour: 0, values: Array.from({ length: 14 * 24 }, (_, hour) => hourly(usedCpus, hour)) }));
  for (let at = 0; at <= hours * 3_600_000; at += readingMs) {
    const ofTheHour = hourFactor(at);
    const told = hosts.map((host) => ({
      cpus: host.usedCpus,
      memoryBytes: host.usedMemoryBytes,
      machines: [] as { id: string; cpus: number; memoryBytes: number }[],
    }));
    for (const [index, machine] of machines.entries()) {
      wandering[index] = 0.97 * (wandering[index] ?? 0) + 0.05 * gauss();
      const burst = random() < 0.01 ? 1.5 : 1;
      const cpus = Math.min(machine.promisedCpus, Math.max(0, machine.usedCpus * ofTheHour * (1 + (wandering[index] ?? 0) + 0.2 * gauss()) * burst));
      const host = told[hostOf[index] ?? 0];
      if (host === undefined) continue;
      host.cpus += cpus;
      host.memoryBytes += machine.usedMemoryBytes;
      host.machines.push({ id: machine.id, cpus, memoryBytes: machine.usedMemoryBytes });
    }
    for (const [index, reading] of told.entries()) {
      book.add(hosts[index]?.id ?? "", reading, at);
      hottestReading = Math.max(hottestReading, reading.cpus / (hosts[index]?.cpus ?? 1));
    }
    if (at % (2 * readingMs) !== 0 || at < 60_000) continue;
    const problem = seenBy(book, uneven, hostOf, at);
    const score = balanceScore({ ...problem, hoursAhead: 0 });
    hottest = Math.max(hottest, score.hottestPercent);
    const result = balanceDue({ ...score, expected: balanceScore(problem) }, settings, unease, at);
    unease = result.unease;
    if (!result.due) continue;
    const plan = planBalance(problem, { goal, hotUse: settings.hotPercent / 100, maximumMoves: settings.maximumMoves });
    for (const { machine, to } of plan.moves) hostOf[machine] = to;
    moves += plan.moves.length;
    if (plan.moves.length > 0) unease = { plannedAt: at };
  }
  return { moves, hottestPercent: hottest, hottestReadingPercent: 100 * hottestReading };
}

function seenBy(book: UseBook, { hosts, machines, mayRun }: BalanceProblem, hostOf: readonly number[], at: number): BalanceProblem {
  const seen = {
    hosts: hosts.map((host) => {
      const use = book.host(host.id, at);
      return { ...host, usedCpus: use?.cpus ?? 0, usedMemoryBytes: use?.memoryBytes ?? 0 };
    }),
    machines: machines.map((machine, index) => {
      const use = book.settledMachine(machine.id, at);
      return { ...machine, host: hostOf[index] ?? 0, usedCpus: use?.cpus ?? 0, usedMemoryBytes: use?.memoryBytes ?? 0, movable: use !== undefined };
    }),
  };
  return { ...lookAhead(seen, book, at, 24), mayRun };
}
