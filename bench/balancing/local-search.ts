/**
 * What is possible, if moves cost nothing: simulated annealing over single moves and exchanges for a set time, with the same hard limits as the
 * planner's (promises, groups that stay apart, machines that may not move), from a given start. Knows nothing of the planner: shares no code with it.
 */
import type { BalanceProblem } from "@sheaf/planning";
import { seededRandom } from "../random.ts";

/** @param start host by machine @returns the best spread found, in percent points, as the planner counts it */
export function localSearch(problem: BalanceProblem, start: Int32Array, milliseconds: number, seed: number): number {
  const { hosts, machines, mayRun } = problem;
  const random = seededRandom(seed);
  const [hostOf, cpus, bytes] = [start.slice(), new Float64Array(hosts.length), new Float64Array(hosts.length)];
  const [promisedCpus, promisedBytes] = [new Float64Array(hosts.length), new Float64Array(hosts.length)];
  const groups = hosts.map(() => new Map<string, number>());
  const charge = (at: number, host: number, sign: number): void => {
    const machine = machines[at];
    if (machine === undefined) return;
    cpus[host] = (cpus[host] ?? 0) + sign * machine.usedCpus;
    bytes[host] = (bytes[host] ?? 0) + sign * machine.usedMemoryBytes;
    promisedCpus[host] = (promisedCpus[host] ?? 0) + sign * machine.promisedCpus;
    promisedBytes[host] = (promisedBytes[host] ?? 0) + sign * machine.promisedMemoryBytes;
    if (machine.apart !== undefined) groups[host]?.set(machine.apart, (groups[host].get(machine.apart) ?? 0) + sign);
  };
  for (let host = 0; host < hosts.length; host += 1) {
    cpus[host] = hosts[host]?.usedCpus ?? 0;
    bytes[host] = hosts[host]?.usedMemoryBytes ?? 0;
  }
  for (let at = 0; at < machines.length; at += 1) charge(at, hostOf[at] ?? 0, 1);
  const total = (figure: (index: number) => number): number => hosts.reduce((sum, _, index) => sum + figure(index), 0);
  const level = Math.max(
    total((host) => cpus[host] ?? 0) / total((host) => hosts[host]?.cpus ?? 0),
    total((host) => bytes[host] ?? 0) / total((host) => hosts[host]?.memoryBytes ?? 0),
  );
  const harm = (host: number): number => {
    const of = hosts[host];
    if (of === undefined) return 0;
    return (Math.max((cpus[host] ?? 0) / of.cpus, (bytes[host] ?? 0) / of.memoryBytes) - level) ** 2;
  };
  const within = (host: number): boolean => {
    const of = hosts[host];
    return of !== undefined && (promisedCpus[host] ?? 0) <= of.promisableCpus && (promisedBytes[host] ?? 0) <= of.promisableMemoryBytes;
  };
  const fits = (at: number, host: number): boolean => {
    const { apart } = machines[at] ?? {};
    return within(host) && (apart === undefined || (groups[host]?.get(apart) ?? 0) <= 1) && hosts[host]?.open === true && mayRun(at, host);
  };
  const movable = machines.flatMap((machine, index) => (machine.movable ? [index] : []));
  let now = total(harm);
  let best = now;
  const until = performance.now() + milliseconds;
  const begin = performance.now();
  const hottest = now / hosts.length;
  for (let round = 0, temperature = hottest; ; round += 1) {
    if (round % 1024 === 0) {
      const at = performance.now();
      if (at >= until) return 100 * Math.sqrt(best / hosts.length);
      // From the harm of an average host down to a ten-thousandth of it.
      temperature = hottest * 10 ** (-1 - 5 * ((at - begin) / milliseconds));
    }
    const one = movable[Math.floor(random() * movable.length)] ?? 0;
    const other = round % 2 === 0 ? -1 : (movable[Math.floor(random() * movable.length)] ?? 0);
    const from = hostOf[one] ?? 0;
    const to = other === -1 ? Math.floor(random() * hosts.length) : (hostOf[other] ?? 0);
    if (from === to) continue;
    const before = harm(from) + harm(to);
    charge(one, from, -1);
    charge(one, to, 1);
    if (other !== -1) {
      charge(other, to, -1);
      charge(other, from, 1);
    }
    const change = harm(from) + harm(to) - before;
    const allowed = (change < 0 || random() < Math.exp(-change / temperature)) && fits(one, to) && (other === -1 || fits(other, from));
    if (allowed) {
      hostOf[one] = to;
      if (other !== -1) hostOf[other] = from;
      now += change;
      if (now < best) best = now;
      continue;
    }
    charge(one, to, -1);
    charge(one, from, 1);
    if (other !== -1) {
      charge(other, from, -1);
      charge(other, to, 1);
    }
  }
}
