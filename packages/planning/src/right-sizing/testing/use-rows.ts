/** Two weeks of a machine's life, as rows of five minutes. For tests alone. */
import type { UseRows } from "../machine-use.ts";

export const rowsADay = 288;
export const gib = 2 ** 30;

export interface LifeAt {
  readonly cpu: number;
  /** The greatest ten seconds of the five minutes; absent: the same. */
  readonly cpuGreatest?: number;
  readonly cpuWaiting?: number;
  /** What the guest needs. */
  readonly neededBytes?: number;
  readonly residentBytes?: number;
  readonly diskBytesPerSecond?: number;
  readonly netBytesPerSecond?: number;
}

/** @param life what it does in each row; `null`: it was off */
export function useRows(days: number, life: (row: number) => LifeAt | null, { silent = false, assignedBytes = 8 * gib } = {}): UseRows {
  const rows = Array.from({ length: Math.round(days * rowsADay) }, (_, row) => life(row));
  const column = (figure: (at: LifeAt) => number | undefined): Float64Array =>
    Float64Array.from(rows, (at) => (at === null ? Number.NaN : (figure(at) ?? Number.NaN)));
  const available = column((at) => (silent ? undefined : assignedBytes - (at.neededBytes ?? gib)));
  return {
    rowMs: 300_000,
    cpuMean: column((at) => at.cpu),
    cpuGreatest: column((at) => at.cpuGreatest ?? at.cpu),
    cpuWaitingMean: column((at) => at.cpuWaiting ?? 0),
    memoryAssignedMean: column(() => assignedBytes),
    memoryAvailableMean: available,
    memoryAvailableLeast: available,
    memoryResidentGreatest: column((at) => at.residentBytes ?? assignedBytes),
    diskBytesPerSecondMean: column((at) => at.diskBytesPerSecond ?? 1e6),
    netBytesPerSecondMean: column((at) => at.netBytesPerSecond ?? 1e6),
  };
}
