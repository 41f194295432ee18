/**
 * A cluster as balancing sees it: what hosts offer, what machines use now (in the mean of minutes, never at a glance) and in hours to come, what is
 * promised to them, and which of them may go where. Made by the caller of `planBalance`. Pure.
 */
export interface BalanceHost {
  readonly id: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** What the host itself uses, and machines that are not in the problem. */
  readonly usedCpus: number;
  readonly usedMemoryBytes: number;
  /** CPUs used in each of the hours to come that are looked at, in one order for all; absent: as now. */
  readonly aheadCpus?: ArrayLike<number>;
  /** Promises to machines end here, overcommit and reservations counted. Never passed. */
  readonly promisableCpus: number;
  readonly promisableMemoryBytes: number;
  /** May be given machines: open, ready, not about to be emptied. */
  readonly open: boolean;
}

export interface BalanceMachine {
  readonly id: string;
  /** Index among the problem's hosts. */
  readonly host: number;
  readonly usedCpus: number;
  readonly usedMemoryBytes: number;
  /** As the hosts'. */
  readonly aheadCpus?: ArrayLike<number>;
  readonly promisedCpus: number;
  readonly promisedMemoryBytes: number;
  /** How long its migration is expected to take: the memory it uses, and what it dirties meanwhile, over the link. */
  readonly moveSeconds: number;
  /** May be moved now: it runs, nobody forbade it, it has not moved lately. */
  readonly movable: boolean;
  /** Never on one host with another machine of the group. */
  readonly apart?: string;
}

export interface BalanceProblem {
  /** Hours to come that are looked at; absent: none. */
  readonly hoursAhead?: number;
  readonly hosts: readonly BalanceHost[];
  readonly machines: readonly BalanceMachine[];
  /** Rules that do not depend on where other machines are: CPU model, networks, pools, selectors, machines that stay together. Asked rarely. */
  readonly mayRun: (machine: number, host: number) => boolean;
}
