/**
 * What would happen if a host were emptied: said before it is begun. (its machines, where each could go, what the other hosts of its cluster
 * have) → who cannot move, and whether the rest would be too full, or lose its room for failures. Called by the API and by rolling
 * maintenance. Pure; `choose` counts its answers in; `others` and `failOverRoom` are asked afterwards.
 */
import { formatBytes } from "@sheaf/base";
import { planDrain, type DrainMachine, type TargetChoice } from "./drain.ts";

export interface HostRoom {
  readonly name: string;
  readonly memoryCapacityBytes: number;
  readonly memoryUsedBytes: number;
  readonly cpuCapacity: number;
  readonly cpuUsed: number;
  /** It is ready and takes machines. */
  readonly open: boolean;
}

export interface EvacuationInput {
  readonly machines: readonly DrainMachine[];
  readonly choose: (machineId: string) => TargetChoice;
  /** The other hosts of its cluster with the machines that would move to them. */
  readonly others: () => readonly HostRoom[];
  /** Memory to spare beyond what the failures take that the cluster is to survive; `undefined`: it is to survive none. */
  readonly failOverRoom: () => { readonly toleratedHostFailures: number; readonly spareMemoryBytes: number } | undefined;
}

export interface EvacuationCheck {
  readonly machines: number;
  readonly cannotMove: readonly { readonly vm: string; readonly why: string }[];
  /** Promised ÷ promisable on the hosts that are left, afterwards, in percent. */
  readonly memoryPercent: number;
  readonly cpuPercent: number;
  /** Sentences for people; none: nothing speaks against it. */
  readonly warnings: readonly string[];
}

/** From here on a cluster has no room for what comes unexpected. */
const fullPercent = 90;

export function checkEvacuation({ machines, choose, others, failOverRoom }: EvacuationInput): EvacuationCheck {
  const { stuck } = planDrain({ machines, choose, maximumParallel: Number.POSITIVE_INFINITY });
  const rest = others().filter((host) => host.open);
  const memoryPercent = percent(rest, "memoryUsedBytes", "memoryCapacityBytes");
  const cpuPercent = percent(rest, "cpuUsed", "cpuCapacity");
  const warnings: string[] = [];
  if (stuck.length > 0) warnings.push(`${stuck.length} of its ${machines.length} machines cannot move`);
  if (memoryPercent >= fullPercent) warnings.push(`the other hosts' memory would be promised to ${memoryPercent} %`);
  if (cpuPercent >= fullPercent) warnings.push(`the other hosts' CPUs would be promised to ${cpuPercent} %`);
  const room = failOverRoom();
  if (room && room.spareMemoryBytes < 0)
    warnings.push(
      `the cluster would lack ${formatBytes(-room.spareMemoryBytes)} to survive the loss of ${room.toleratedHostFailures === 1 ? "a host" : `${room.toleratedHostFailures} hosts`} meanwhile`,
    );
  return { machines: machines.length, cannotMove: stuck, memoryPercent, cpuPercent, warnings };
}

function percent(hosts: readonly HostRoom[], used: "memoryUsedBytes" | "cpuUsed", capacity: "memoryCapacityBytes" | "cpuCapacity"): number {
  const sum = (field: keyof HostRoom): number => hosts.reduce((total, host) => total + Number(host[field]), 0);
  return sum(capacity) === 0 ? 0 : Math.round((100 * sum(used)) / sum(capacity));
}
