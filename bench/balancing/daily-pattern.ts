/**
 * Days of a cluster whose machines have habits: some are busy by day, some at night, and the clusters' hosts happen to hold more of one sort than
 * of the other. Automatic mode looks every five minutes, with what it has learned of two weeks or with the present alone; counted is for how long
 * hosts are above their limit. Every day is a little other than the days before.
 */
import { ClusterBalancing } from "@sheaf/model";
import { balanceDue, balanceScore, lookAhead, planBalance, UseBook, weekProfile, type BalanceProblem, type Unease } from "@sheaf/planning";
import { seededRandom } from "../random.ts";

export interface PatternDay {
  readonly forecast: boolean;
  readonly seed: number;
  /** Sum over hosts of the minutes in which they use more than the limit. */
  readonly hotMinutes: number;
  readonly moves: number;
}

const stepMs = 300_000;
const hourMs = 3_600_000;
const daysLearned = 14;

export function patternDays(hostCount: number, seed: number, forecast: boolean, days = 3): PatternDay {
  const settings = ClusterBalancing.parse({ mode: "automatic", goal: "hot-spots" });
  const random = seededRandom(seed);
  const gauss = (): number => random() + random() + random() + random() - 2;
  const hosts = Array.from({ length: hostCount }, (_, index) => ({
    ...{
      id: `host-${index}`,
      cpus: 32,
      memoryBytes: 256,
      usedCpus: 0.5,
      usedMemoryBytes: 4,
      promisableCpus: 256,
      promisableMemoryBytes: 256,
      open: true,
    },
  }));
  const machines = Array.from({ length: hostCount * 16 }, (_, index) => {
    const host = index % hostCount;
    // Every third host is of those who do the same at the same time.
    const byDay = random() < (host % 3 === 0 ? 0.9 : 0.4);
    return { id: `vm-${index}`, host, cpus: 0.4 + 1.2 * random(), beginsAt: (byDay ? 8 : 21) + 2 * random(), lasts: 7 + 3 * random() };
  });
  const use = ({ cpus, beginsAt, lasts }: (typeof machines)[number], at: number): number => {
    const since = (((at / hourMs - beginsAt) % 24) + 24) % 24;
    return cpus * (since < lasts ? 2.1 : 0.5);
  };
  const book = new UseBook();
  // The days before, each hour a little other.
  if (forecast)
    for (const machine of machines) {
      const values = Array.from({ length: daysLearned * 24 }, (_, hour) => Math.max(0, use(machine, (hour + 0.5) * hourMs) * (1 + 0.15 * gauss())));
      book.learn(machine.id, weekProfile({ firstHour: 0, values }));
    }
  const hostOf = machines.map(({ host }) => host);
  const movedAt = new Map<number, number>();
  const begin = daysLearned * 24 * hourMs;
  let unease: Unease = {};
  let [hotMinutes, moves] = [0, 0];
  const wandering = new Float64Array(machines.length);
  for (let at = begin; at < begin + days * 24 * hourMs; at += stepMs) {
    const told = hosts.map(({ usedCpus, usedMemoryBytes }) => ({
      cpus: usedCpus,
      memoryBytes: usedMemoryBytes,
      machines: [] as { id: string; cpus: number; memoryBytes: number }[],
    }));
    for (const [index, machine] of machines.entries()) {
      wandering[index] = 0.9 * (wandering[index] ?? 0) + 0.05 * gauss();
      const cpus = Math.max(0, use(machine, at) * (1 + (wandering[index] ?? 0)));
      const host = told[hostOf[index] ?? 0];
      if (!host) continue;
      host.cpus += cpus;
      host.memoryBytes += 8;
      host.machines.push({ id: machine.id, cpus, memoryBytes: 8 });
    }
    for (const [index, reading] of told.entries()) {
      // Every 15 s as a server has it, so that the mean is what it would be.
      for (let reads = 0; reads < 20; reads += 1) book.add(hosts[index]?.id ?? "", reading, at + reads * 15_000);
      if (reading.cpus > (settings.hotPercent / 100) * 32) hotMinutes += stepMs / 60_000;
    }
    const now = at + stepMs;
    const problem = seenBy(now);
    const result = balanceDue({ ...balanceScore({ ...problem, hoursAhead: 0 }), expected: balanceScore(problem) }, settings, unease, now);
    unease = result.unease;
    if (!result.due) continue;
    const plan = planBalance(problem, { goal: settings.goal, hotUse: settings.hotPercent / 100, maximumMoves: settings.maximumMoves } as Parameters<
      typeof planBalance
    >[1]);
    for (const { machine, to } of plan.moves) {
      hostOf[machine] = to;
      movedAt.set(machine, now);
    }
    moves += plan.moves.length;
    if (plan.moves.length > 0) unease = { plannedAt: now };
  }
  return { forecast, seed, hotMinutes, moves };

  function seenBy(now: number): BalanceProblem {
    const seen = {
      hosts: hosts.map((host) => ({ ...host, usedCpus: book.host(host.id, now)?.cpus ?? 0 })),
      machines: machines.map(({ id }, index) => ({
        ...{
          id,
          host: hostOf[index] ?? 0,
          usedCpus: book.settledMachine(id, now)?.cpus ?? 0,
          usedMemoryBytes: 8,
          promisedCpus: 4,
          promisedMemoryBytes: 8,
        },
        ...{ moveSeconds: 5, movable: now - (movedAt.get(index) ?? -Infinity) >= settings.pauseMinutes * 60_000 },
      })),
    };
    return { ...lookAhead(seen, book, now, settings.forecastHours), mayRun: () => true };
  }
}
