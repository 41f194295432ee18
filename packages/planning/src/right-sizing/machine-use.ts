/**
 * What a machine has used over the last weeks, in a few figures: made of its rows of five minutes, kept for every machine of a site, and what
 * right-sizing decides by. Order and place in time of the rows do not matter, but for `growth`. Called by the server's survey. Pure.
 */

/** Means, greatest and least of the samples of each row, a figure for each row in the order of time; `NaN`: not measured. */
export interface UseRows {
  readonly rowMs: number;
  readonly cpuMean: Float64Array;
  readonly cpuGreatest: Float64Array;
  readonly cpuWaitingMean: Float64Array;
  readonly memoryAssignedMean: Float64Array;
  /** What the guest's driver says it could have without swapping: `NaN` for guests that say nothing. */
  readonly memoryAvailableMean: Float64Array;
  readonly memoryAvailableLeast: Float64Array;
  readonly memoryResidentGreatest: Float64Array;
  /** Read and written, and received and sent, by all disks and cards. */
  readonly diskBytesPerSecondMean: Float64Array;
  readonly netBytesPerSecondMean: Float64Array;
}

export interface MachineUse {
  /** Of which there are figures: a machine that is off has none. */
  readonly days: number;
  readonly cpu: {
    /** CPUs used in the mean of five minutes: not more in 95 of 100. */
    readonly sustained: number;
    /** CPUs wanted: what may not be taken from it. See `peakOf`. */
    readonly peak: number;
    /** CPUs that its vCPUs wanted and did not get: not more in 95 of 100. */
    readonly waiting: number;
  };
  readonly memory: {
    /** `guest`: its driver says what it needs; `resident`: it says nothing, and only what it takes of the host is known; `none`: neither is. */
    readonly known: "guest" | "resident" | "none";
    /** Bytes needed in the mean of five minutes: not more in 95 of 100. Of `resident` the same as `peakBytes`. */
    readonly sustainedBytes: number;
    /** The greatest need of any ten seconds; of `resident`: the most that it ever took. */
    readonly peakBytes: number;
  };
  /** In the mean of five minutes, not more in 99 of 100; absent: not measured. */
  readonly activity: { readonly cpu: number; readonly diskBytesPerSecond?: number; readonly netBytesPerSecond?: number };
  /** Use in the later half of the time ÷ that in the earlier half; absent where less than ten days are known. */
  readonly growth?: { readonly cpu: number; readonly memory: number };
}

/** What right-sizing looks back on: two weeks, so that whatever happens once a week is seen twice. As AWS Compute Optimizer's default. */
export const lookBackMs = 14 * 86_400_000;
const dayMs = 86_400_000;
const growthDays = 10;

export function measureUse(rows: UseRows): MachineUse {
  const { rowMs, cpuMean } = rows;
  const measured = sorted(cpuMean);
  const days = (measured.length * rowMs) / dayMs;
  const wanted = combine(cpuMean, rows.cpuWaitingMean, (used, waiting) => used + (Number.isNaN(waiting) ? 0 : waiting));
  const activity = (column: Float64Array): number | undefined => percentile(sorted(column), 99);
  const [disk, net] = [activity(rows.diskBytesPerSecondMean), activity(rows.netBytesPerSecondMean)];
  const growth = days >= growthDays ? growthOf(rows) : undefined;
  return {
    days,
    cpu: {
      sustained: percentile(measured, 95) ?? 0,
      peak: peakOf(sorted(wanted), sorted(rows.cpuGreatest)),
      waiting: percentile(sorted(rows.cpuWaitingMean), 95) ?? 0,
    },
    memory: memoryUse(rows, measured.length),
    activity: {
      cpu: percentile(measured, 99) ?? 0,
      ...(disk === undefined ? {} : { diskBytesPerSecond: disk }),
      ...(net === undefined ? {} : { netBytesPerSecond: net }),
    },
    ...(growth ? { growth } : {}),
  };
}

/**
 * The 99.5th percentile of the means of five minutes (a hundred minutes in two weeks are above it; the percentile and the window are the
 * defaults of AWS Compute Optimizer's CPU threshold, docs.aws.amazon.com/compute-optimizer/latest/ug/rightsizing-preferences.html), and not
 * less than the 95th of the greatest ten seconds of each five minutes, so that short bursts that come all day are no slower afterwards. The
 * latter is never below the 95th percentile of all samples: of a row none is above its greatest.
 */
const peakOf = (means: Float64Array, bursts: Float64Array): number => Math.max(percentile(means, 99.5) ?? 0, percentile(bursts, 95) ?? 0);

function memoryUse(rows: UseRows, measuredRows: number): MachineUse["memory"] {
  const needed = (assigned: number, available: number): number => Math.max(0, assigned - available);
  const means = sorted(combine(rows.memoryAssignedMean, rows.memoryAvailableMean, needed));
  const peakBytes = greatest(combine(rows.memoryAssignedMean, rows.memoryAvailableLeast, needed));
  // A guest whose driver spoke for an hour in two weeks has not said what it needs.
  if (peakBytes !== undefined && means.length * 2 >= measuredRows) return { known: "guest", sustainedBytes: percentile(means, 95) ?? 0, peakBytes };
  const resident = greatest(rows.memoryResidentGreatest);
  if (resident === undefined || resident === 0) return { known: "none", sustainedBytes: 0, peakBytes: 0 };
  const most = Math.max(resident, peakBytes ?? 0);
  return { known: "resident", sustainedBytes: most, peakBytes: most };
}

function growthOf(rows: UseRows): MachineUse["growth"] {
  const memory = combine(rows.memoryAssignedMean, rows.memoryAvailableMean, (assigned, available) => assigned - available);
  return { cpu: ratioOfHalves(rows.cpuMean), memory: ratioOfHalves(memory) };
}

/** 1 where either half has no figures. */
function ratioOfHalves(column: Float64Array): number {
  const half = column.length >> 1;
  const mean = (part: Float64Array): number => {
    let [sum, count] = [0, 0];
    for (const figure of part) {
      if (Number.isNaN(figure)) continue;
      sum += figure;
      count += 1;
    }
    return sum / count;
  };
  const [early, late] = [mean(column.subarray(0, half)), mean(column.subarray(half))];
  return early > 0 && late >= 0 ? late / early : 1;
}

/**
 * Of what two servers know of one machine, whose host went from one to the other. Percentiles of both together are not above the greater of
 * the two, so that what comes of it is never too small.
 */
export function joinUse(one: MachineUse, other: MachineUse): MachineUse {
  if (other.days === 0) return one;
  if (one.days === 0) return other;
  const greater = (left: number | undefined, right: number | undefined): number => Math.max(left ?? 0, right ?? 0);
  const known = (left: number | undefined, right: number | undefined) => left !== undefined && right !== undefined;
  const ranks = ["guest", "resident", "none"] as const;
  const { growth: _earlier, ...longest } = one.days >= other.days ? one : other;
  return {
    ...longest,
    days: one.days + other.days,
    cpu: {
      sustained: greater(one.cpu.sustained, other.cpu.sustained),
      peak: greater(one.cpu.peak, other.cpu.peak),
      waiting: greater(one.cpu.waiting, other.cpu.waiting),
    },
    memory: {
      known: ranks[Math.max(ranks.indexOf(one.memory.known), ranks.indexOf(other.memory.known))] ?? "none",
      sustainedBytes: greater(one.memory.sustainedBytes, other.memory.sustainedBytes),
      peakBytes: greater(one.memory.peakBytes, other.memory.peakBytes),
    },
    activity: {
      cpu: greater(one.activity.cpu, other.activity.cpu),
      ...(known(one.activity.diskBytesPerSecond, other.activity.diskBytesPerSecond)
        ? { diskBytesPerSecond: greater(one.activity.diskBytesPerSecond, other.activity.diskBytesPerSecond) }
        : {}),
      ...(known(one.activity.netBytesPerSecond, other.activity.netBytesPerSecond)
        ? { netBytesPerSecond: greater(one.activity.netBytesPerSecond, other.activity.netBytesPerSecond) }
        : {}),
    },
  };
}

/** Where the left one is not known, nothing is. */
function combine(left: Float64Array, right: Float64Array, make: (left: number, right: number) => number): Float64Array {
  const made = new Float64Array(left.length);
  for (let row = 0; row < left.length; row += 1) {
    const figure = left[row] ?? Number.NaN;
    made[row] = Number.isNaN(figure) ? Number.NaN : make(figure, right[row] ?? Number.NaN);
  }
  return made;
}

/** What is known of it, least first. Numbers sort by number in typed arrays, and `NaN` last. */
function sorted(column: Float64Array): Float64Array {
  const figures = Float64Array.from(column).sort();
  let known = figures.length;
  while (known > 0 && Number.isNaN(figures[known - 1])) known -= 1;
  return figures.subarray(0, known);
}

function greatest(column: Float64Array): number | undefined {
  let most = Number.NEGATIVE_INFINITY;
  for (const figure of column) if (figure > most) most = figure;
  return most === Number.NEGATIVE_INFINITY ? undefined : most;
}

/** Nearest rank: the least figure that so many per cent do not exceed. @param column sorted; `undefined` of none */
function percentile(column: Float64Array, percent: number): number | undefined {
  return column[Math.max(0, Math.ceil((percent / 100) * column.length) - 1)];
}
