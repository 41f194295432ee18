/** Clusters with hot spots, drawn from a seed: mixed hosts, machines of usual sizes, 70 % of the memory promised, and a sixth of the hosts twice as busy as the others. */
import type { BalanceHost, BalanceMachine, BalanceProblem } from "@sheaf/planning";
import { seededRandom } from "../random.ts";

const gib = 2 ** 30;

/** Each value as likely as the others. */
export const picker =
  (random: () => number) =>
  <T>(...values: readonly [T, ...T[]]): T =>
    values[Math.floor(random() * values.length)] ?? values[0];

/** Hosts of the usual makes, drawn. @param memoryRatio of memory that may be promised, without what the host itself takes */
export function mixedHosts(count: number, pick: ReturnType<typeof picker>, memoryRatio = 1): BalanceHost[] {
  return Array.from({ length: count }, (_, index) => {
    const [cpus, memoryGib] = pick([64, 512], [96, 768], [128, 1024], [128, 512]);
    return {
      id: `host-${index}`,
      cpus,
      memoryBytes: memoryGib * gib,
      usedCpus: 0.5,
      usedMemoryBytes: 4 * gib,
      promisableCpus: cpus * 4,
      promisableMemoryBytes: (memoryGib - 8) * memoryRatio * gib,
      open: true,
    };
  });
}

export function hotSpotCluster(hostCount: number, seed: number): BalanceProblem {
  const random = seededRandom(seed);
  const pick = picker(random);
  const hosts = mixedHosts(hostCount, pick);
  const machines: BalanceMachine[] = [];
  for (const [index, host] of hosts.entries()) {
    const heat = random() < 1 / 6 ? 2 : 1;
    const groups = new Set<string>();
    const promised = { cpus: 0, bytes: 0 };
    const fill = host.promisableMemoryBytes * (0.55 + 0.3 * random());
    while (promised.bytes < fill) {
      const cpus = pick(1, 2, 2, 4, 4, 4, 8, 8, 16);
      const bytes = cpus * pick(2, 4, 4, 8) * gib;
      if (promised.cpus + cpus > host.promisableCpus || promised.bytes + bytes > host.promisableMemoryBytes) break;
      promised.cpus += cpus;
      promised.bytes += bytes;
      const busy = Math.min(1, heat * 0.6 * random() ** 1.5);
      const usedMemoryBytes = bytes * (0.4 + 0.5 * random());
      const drawn = random() < 0.1 ? `group-${Math.floor(random() * hostCount)}` : undefined;
      const group = drawn === undefined || groups.has(drawn) ? undefined : drawn;
      if (group !== undefined) groups.add(group);
      machines.push({
        id: `machine-${machines.length}`,
        host: index,
        usedCpus: cpus * busy,
        usedMemoryBytes,
        promisedCpus: cpus,
        promisedMemoryBytes: bytes,
        moveSeconds: usedMemoryBytes / 1.25e9,
        movable: random() < 0.97,
        ...(group === undefined ? {} : { apart: group }),
      });
    }
  }
  return { hosts, machines, mayRun: () => true };
}
