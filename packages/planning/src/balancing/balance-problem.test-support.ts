/** Small balancing problems for tests: hosts of ten CPUs and 100 GiB, machines of one vCPU and 10 GiB. */
import type { BalanceHost, BalanceMachine, BalanceProblem } from "./balance-problem.ts";

const gib = 2 ** 30;
export const hostOf = (given: Partial<BalanceHost> = {}): BalanceHost => ({
  id: "",
  cpus: 10,
  memoryBytes: 100 * gib,
  usedCpus: 0,
  usedMemoryBytes: 0,
  promisableCpus: 40,
  promisableMemoryBytes: 100 * gib,
  open: true,
  ...given,
});
export const machineOf = (host: number, usedCpus: number, given: Partial<BalanceMachine> = {}): BalanceMachine => ({
  id: "",
  host,
  usedCpus,
  usedMemoryBytes: gib,
  promisedCpus: 1,
  promisedMemoryBytes: 10 * gib,
  moveSeconds: 1,
  movable: true,
  ...given,
});
export const problemOf = (hosts: BalanceHost[], machines: BalanceMachine[], mayRun: BalanceProblem["mayRun"] = () => true): BalanceProblem => ({
  hosts: hosts.map((host, index) => ({ ...host, id: `host-${index}` })),
  machines: machines.map((machine, index) => ({ ...machine, id: `machine-${index}` })),
  mayRun,
});
