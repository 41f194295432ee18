/**
 * Whether a machine has the size that it needs, by what it has used: too large, too small, idle, or right; and which size would do. It never
 * advises less than the peak and headroom, and says nothing while it knows too little. Called by the server for each machine. Pure.
 */
import type { SizeVerdict } from "@sheaf/model";
import type { MachineUse } from "./machine-use.ts";
import { cpusFor, memoryFor } from "./sensible-sizes.ts";

export interface MachineSize {
  readonly cpus: number;
  readonly memoryBytes: number;
}

export interface GivenSize extends MachineSize {
  /** Below this the balloon may not go: nor does the advice. */
  readonly minimumMemoryBytes?: number;
}

/** Advice that was given before, for that size: the next one differs only where it is clear. */
export interface EarlierAdvice {
  readonly given: MachineSize;
  readonly suggested: MachineSize;
}

export interface RightSize {
  readonly verdict: SizeVerdict;
  /** The same as given where nothing is to be changed. For `idle`: what it could live on if it is to stay. */
  readonly suggested: MachineSize;
  /** How far the figures carry: by days of data. */
  readonly confidence: "none" | "low" | "medium" | "high";
}

/** Days of figures without which nothing is said. (AWS Compute Optimizer asks for 30 hours; its finding then rests on a single day.) */
export const leastDays = 3;
/** And without which nothing is taken away: load differs by the day of the week. (BMC Helix calls a machine idle after 7 days at the earliest.) */
export const wholeWeekDays = 7;
const certainDays = 12.5;

/** Room above the peak. AWS Compute Optimizer's default headroom for CPU and memory; Kubernetes' vertical autoscaler takes 15 % by default. */
export const headroom = 1.2;
/** Room above sustained use below which memory is short: at 91 % and more of it in use the kernel gives up its cache and begins to swap. */
const memoryHeadroom = 1.1;
/** Less than a quarter is not worth a change. */
const worthwhileShare = 0.75;
/** A size that was advised stays advised until the need has gone past it by so much: no advice flips from day to day. */
const steadyShare = 0.85;
/**
 * Idle: in 99 of 100 five minutes (all but a quarter of an hour a day, in which a system looks for updates) not above any of these. A share of time
 * below thresholds of CPU, disk and network alike is how VMware vCenter Operations Manager 5.7 ("Idle VM Detection Rules") and BMC Helix
 * find idle machines; the latter takes 5 % of the CPU. Here it is 5 % of a single one, and what a log and a network's chatter come to.
 */
const idleCpus = 0.05;
const idleDiskBytesPerSecond = 20 * 1024;
const idleNetBytesPerSecond = 10 * 1024;

export function rightSize(use: MachineUse, given: GivenSize, earlier?: EarlierAdvice): RightSize {
  const confidence = use.days < leastDays ? "none" : use.days < wholeWeekDays ? "low" : use.days < certainDays ? "medium" : "high";
  const unknown = { verdict: "unknown", suggested: { cpus: given.cpus, memoryBytes: given.memoryBytes }, confidence } as const;
  if (confidence === "none") return unknown;
  const before = earlier !== undefined && sameSize(earlier.given, given) ? earlier.suggested : undefined;
  const suggested = { cpus: cpusSuggested(use, given, before?.cpus), memoryBytes: memorySuggested(use, given, before?.memoryBytes) };
  const idle = isIdle(use);
  const takes = idle || suggested.cpus < given.cpus || suggested.memoryBytes < given.memoryBytes;
  const gives = suggested.cpus > given.cpus || suggested.memoryBytes > given.memoryBytes;
  if (takes && confidence === "low") {
    const raised = { cpus: Math.max(given.cpus, suggested.cpus), memoryBytes: Math.max(given.memoryBytes, suggested.memoryBytes) };
    return gives ? { verdict: "too-small", suggested: raised, confidence } : unknown;
  }
  return { verdict: idle ? "idle" : gives ? "too-small" : takes ? "too-large" : "right", suggested, confidence };
}

function cpusSuggested({ cpu }: MachineUse, { cpus }: GivenSize, before: number | undefined): number {
  const wanted = (ease: number): number => {
    const size = cpusFor((cpu.peak * headroom) / ease);
    // Bursts alone are no reason for more: they end.
    if (size > cpus && (cpu.sustained * headroom) / ease <= cpus) return cpus;
    return size > cpus || size <= cpus * worthwhileShare ? size : cpus;
  };
  return steady(before, wanted(1), wanted(steadyShare));
}

function memorySuggested({ memory }: MachineUse, { memoryBytes, minimumMemoryBytes = 0 }: GivenSize, before: number | undefined): number {
  if (memory.known === "none") return memoryBytes;
  const wanted = (ease: number): number => {
    const size = Math.max(memoryFor((memory.peakBytes * headroom) / ease), minimumMemoryBytes);
    // What a guest that says nothing has touched once is no sign that it needs more.
    const short = memory.known === "guest" && (memory.sustainedBytes * memoryHeadroom) / ease > memoryBytes;
    if (size > memoryBytes && !short) return memoryBytes;
    return size > memoryBytes || size <= memoryBytes * worthwhileShare ? size : memoryBytes;
  };
  return steady(before, wanted(1), wanted(steadyShare));
}

/** What was advised before, unless the need is past it (`least`) or far below it (`most`). */
const steady = (before: number | undefined, least: number, most: number): number =>
  before === undefined ? least : Math.min(Math.max(before, least), most);

function isIdle({ activity: { cpu, diskBytesPerSecond, netBytesPerSecond } }: MachineUse): boolean {
  if (diskBytesPerSecond === undefined || netBytesPerSecond === undefined) return false;
  return cpu <= idleCpus && diskBytesPerSecond <= idleDiskBytesPerSecond && netBytesPerSecond <= idleNetBytesPerSecond;
}

const sameSize = (one: MachineSize, other: MachineSize): boolean => one.cpus === other.cpus && one.memoryBytes === other.memoryBytes;
