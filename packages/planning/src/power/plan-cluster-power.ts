/**
 * Which hosts of a cluster to wake and which to put to sleep: (hosts, what their machines need, who waits) → hosts with why. Hosts are woken for
 * what waits, and before use passes what makes hosts hot; they sleep where the others stay below the target without them. In between nothing
 * happens. Sums decide, with the largest spare hosts left out: whether each machine fits is placement's. Pure.
 */
export interface PowerHost {
  readonly id: string;
  /** `going`: falls asleep · `coming`: is being woken. */
  readonly state: "awake" | "going" | "asleep" | "coming";
  readonly cpus: number;
  readonly memoryBytes: number;
  /** What it uses itself while it is awake. */
  readonly usedCpus: number;
  readonly usedMemoryBytes: number;
  readonly promisableCpus: number;
  readonly promisableMemoryBytes: number;
  /** Its cool-down has passed. */
  readonly rested: boolean;
  /** It has slept for so long that its agent must be heard. */
  readonly overdue: boolean;
  /** What it draws when it does nothing, watts: those that draw most sleep first, and wake last. */
  readonly idleWatts: number;
}

export interface ClusterPowerInput {
  readonly hosts: readonly PowerHost[];
  /** What all machines use and are promised together. `undefined`: not known of all hosts. */
  readonly taken:
    | { readonly cpus: number; readonly memoryBytes: number; readonly promisedCpus: number; readonly promisedMemoryBytes: number }
    | undefined;
  /** Sleeping hosts that something waits for, with what. */
  readonly wanted: ReadonlyMap<string, string>;
  /** Something waits for room: nothing sleeps meanwhile. */
  readonly somethingWaits: boolean;
  readonly hotUse: number;
  readonly targetUse: number;
  readonly spareHosts: number;
  /** Why it must not sleep; `null`: it may. Asked of the likeliest only. */
  readonly hindrance: (host: string) => string | null;
}

export interface PowerChange {
  readonly host: string;
  readonly reason: string;
}

export interface ClusterPowerPlan {
  readonly wake: readonly PowerChange[];
  /** One at a time: each is looked at anew afterwards. */
  readonly sleep: readonly PowerChange[];
}

export function planClusterPower(input: ClusterPowerInput): ClusterPowerPlan {
  const { hosts, wanted, taken } = input;
  const wake: PowerChange[] = hosts.flatMap(({ id, state, overdue }) => {
    const reason = wanted.get(id) ?? (overdue ? "it has slept for three weeks: its agent has to renew its certificate in time" : undefined);
    return state === "asleep" && reason !== undefined ? [{ host: id, reason }] : [];
  });
  if (taken === undefined) return { wake, sleep: [] };
  const there = hosts.filter(({ id, state }) => state === "awake" || state === "coming" || (state === "asleep" && wanted.has(id)));
  if (!suffice(there, input, input.hotUse)) {
    // One that is on its way is waited for.
    const next = hosts.filter(({ state, rested, id }) => state === "asleep" && rested && !wanted.has(id)).toSorted(byWatts)[0];
    if (next && wake.length === 0 && !hosts.some(({ state }) => state === "coming")) wake.push({ host: next.id, reason: fullReason(input) });
    return { wake, sleep: [] };
  }
  const moving = wake.length > 0 || hosts.some(({ state }) => state === "coming" || state === "going");
  if (moving || input.somethingWaits) return { wake, sleep: [] };
  for (const host of there.filter(({ rested }) => rested).toSorted((a, b) => byWatts(b, a))) {
    const others = there.filter((other) => other !== host);
    if (others.length === 0 || !suffice(others, input, input.targetUse) || input.hindrance(host.id) !== null) continue;
    return { wake, sleep: [{ host: host.id, reason: "it has no machines, and the others do without it" }] };
  }
  return { wake, sleep: [] };
}

/** Whether these hosts, without the largest spare ones, carry all machines with no more than `use` of what they have. */
function suffice(hosts: readonly PowerHost[], { taken, spareHosts }: ClusterPowerInput, use: number): boolean {
  if (taken === undefined) return true;
  const carrying = hosts.toSorted((a, b) => b.memoryBytes - a.memoryBytes || b.cpus - a.cpus).slice(spareHosts);
  const sum = (figure: (host: PowerHost) => number): number => carrying.reduce((all, host) => all + figure(host), 0);
  return (
    taken.cpus <= sum(({ cpus, usedCpus }) => Math.max(0, cpus * use - usedCpus)) &&
    taken.memoryBytes <= sum(({ memoryBytes, usedMemoryBytes }) => Math.max(0, memoryBytes * use - usedMemoryBytes)) &&
    taken.promisedCpus <= sum(({ promisableCpus }) => promisableCpus) &&
    taken.promisedMemoryBytes <= sum(({ promisableMemoryBytes }) => promisableMemoryBytes)
  );
}

const fullReason = ({ hotUse, spareHosts }: ClusterPowerInput): string =>
  spareHosts === 0
    ? `the hosts that are awake would pass ${Math.round(100 * hotUse)} % of what they have`
    : `the hosts that are awake would pass ${Math.round(100 * hotUse)} % of what they have, were ${spareHosts} of them kept spare`;

const byWatts = (a: PowerHost, b: PowerHost): number => a.idleWatts - b.idleWatts || (a.id < b.id ? -1 : 1);
