/** Advice on a machine's size in words: what speaks for it, and what could go wrong when it is followed. Made for what is shown alone. Pure. */
import { formatBytes } from "@sheaf/base";
import type { MachineUse } from "./machine-use.ts";
import { leastDays, type MachineSize, type RightSize, wholeWeekDays } from "./right-size.ts";

export interface SizeWords {
  readonly reasons: readonly string[];
  readonly risks: readonly string[];
}

/** vCPUs that wait for more than this share of what they get are held up by their host. */
const waitingShare = 0.1;
/** More is growth, and no chance. */
const growing = 1.1;
/** Whoever used that much of its CPUs would have used more. */
const atTheLimit = 0.95;

export function sizeWords(use: MachineUse, given: MachineSize, advice: RightSize): SizeWords {
  const { verdict, confidence, suggested } = advice;
  if (confidence === "none") return { reasons: [`there are figures of ${inDays(use.days)}; nothing is said before ${leastDays} days`], risks: [] };
  const reasons = verdict === "idle" ? [idleReason(use)] : [cpuReason(use, given), memoryReason(use, given)];
  if (confidence === "low") reasons.push(`nothing is taken away before there are figures of ${wholeWeekDays} days`);
  if (verdict === "unknown") return { reasons, risks: [] };
  return { reasons, risks: [...(verdict === "idle" ? [idleRisk] : []), ...cpuRisks(use, given, suggested), ...memoryRisks(use, given, suggested)] };
}

function idleReason({ days, activity }: MachineUse): string {
  const disk = `${bytes(activity.diskBytesPerSecond ?? 0)}/s from and to its disks`;
  const net = `${bytes(activity.netBytesPerSecond ?? 0)}/s over the network`;
  return `in ${inDays(days)} it used no more than ${activity.cpu.toFixed(2)} CPUs, ${disk} and ${net} in 99 of 100 five minutes`;
}
const idleRisk =
  "what it does rarely, such as once a month or when something else fails, is not in these figures: ask its owner before it is stopped";

const cpuReason = ({ days, cpu }: MachineUse, { cpus }: MachineSize): string =>
  `in ${inDays(days)} it used ${cpu.sustained.toFixed(2)} of ${cpus} vCPUs or less in 95 of 100 five minutes, ${cpu.peak.toFixed(2)} at its peak`;

function memoryReason({ memory }: MachineUse, { memoryBytes }: MachineSize): string {
  const { known, sustainedBytes, peakBytes } = memory;
  if (known === "guest")
    return `it needed ${mebibytes(sustainedBytes)} of ${formatBytes(memoryBytes)} memory or less in 95 of 100 five minutes, ${mebibytes(peakBytes)} at its peak`;
  if (known === "resident")
    return `its guest does not say how much memory it needs; it has never taken more than ${mebibytes(peakBytes)} of ${formatBytes(memoryBytes)}`;
  return "how much memory it needs is not known";
}

function cpuRisks({ days, cpu, growth }: MachineUse, given: MachineSize, suggested: MachineSize): string[] {
  const risks: string[] = [];
  if (cpu.waiting > waitingShare * Math.max(cpu.sustained, 0.1))
    risks.push(
      `its vCPUs waited for ${cpu.waiting.toFixed(2)} CPUs of their host in the busy times: room on another host helps it more than vCPUs of its own`,
    );
  if (suggested.cpus > given.cpus && cpu.sustained > atTheLimit * given.cpus)
    risks.push("it was at its limit, so what it would use is not known: look again some days after the change");
  if (suggested.cpus < given.cpus) risks.push("what it did in the busiest 100 minutes of two weeks may take longer");
  if (growth !== undefined && growth.cpu > growing && suggested.cpus <= given.cpus)
    risks.push(`its use of CPU grows: by ${inPercent(growth.cpu)} from the first to the second half of ${inDays(days)}`);
  return risks;
}

function memoryRisks({ days, memory, growth }: MachineUse, given: MachineSize, suggested: MachineSize): string[] {
  const risks: string[] = [];
  const less = suggested.memoryBytes < given.memoryBytes;
  if (less && memory.known === "guest") risks.push("its cache of files becomes smaller: what it reads again comes from the disk");
  if (memory.known !== "guest")
    risks.push(
      less
        ? "only what its guest has touched is known, not what it needs: with statistics of the balloon (virtio driver) in the guest more could be said"
        : "whether its memory is too small cannot be told without statistics of the balloon (virtio driver) in the guest",
    );
  if (growth !== undefined && growth.memory > growing && suggested.memoryBytes <= given.memoryBytes)
    risks.push(`its use of memory grows: by ${inPercent(growth.memory)} from the first to the second half of ${inDays(days)}`);
  return risks;
}

const inDays = (days: number): string => `${days < 9.95 ? days.toFixed(1) : Math.round(days)} days`;
const inPercent = (ratio: number): string => `${Math.round((ratio - 1) * 100)} %`;
const bytes = (figure: number): string => formatBytes(Math.round(figure));
const mebibytes = (figure: number): string => formatBytes(Math.round(figure / 2 ** 20) * 2 ** 20);
