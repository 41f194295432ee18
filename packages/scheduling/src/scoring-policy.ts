/** What a scoring policy is. One file each under policies/; `policies` is the registry that settings choose from by name. */
export interface HostFigures {
  /** vCPUs that may be promised, and those that are, before this machine. */
  cpuCapacity: number;
  cpuUsed: number;
  memoryCapacity: number;
  memoryUsed: number;
  /** What the machine adds. */
  cpus: number;
  memory: number;
  /** Measured, in percent; NaN where nothing was measured. */
  cpuPercent: number;
  memoryPercent: number;
  powerPercent: number;
}

export interface ScoringPolicy {
  readonly name: string;
  /** One sentence for people. */
  readonly summary: string;
  /** Higher is better. `figures` is reused between calls: do not keep it. */
  readonly score: (figures: HostFigures) => number;
  /** The named terms of the score, for explanations. */
  readonly parts: (figures: HostFigures) => Readonly<Record<string, number>>;
}

/** Share of `capacity` in use, 0 … ; a host without capacity counts as full. */
export const share = (used: number, capacity: number): number => (capacity > 0 ? used / capacity : 1);
