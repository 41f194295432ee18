/** Sizes that people give machines: advice is one of these. Pure. */

const mib = 2 ** 20;
/** vCPUs: powers of two, and the middle between two of them. */
const cpuSizes: readonly number[] = [1, ...Array.from({ length: 8 }, (_, power) => [2 ** (power + 1), 3 * 2 ** power]).flat(), 512].sort(
  (a, b) => a - b,
);
/** Less than this is no memory for a general system: Debian, Ubuntu and RHEL ask for 256 MiB to 1.5 GiB. */
const leastMemoryBytes = 256 * mib;

/** The least sensible number of vCPUs that is not less; 512 at most. */
export const cpusFor = (cpus: number): number => cpuSizes.find((size) => size >= cpus) ?? 512;

/** The least sensible amount of memory that is not less: whole quarters of the power of two below it, and whole 128 MiB. */
export function memoryFor(bytes: number): number {
  if (bytes <= leastMemoryBytes) return leastMemoryBytes;
  const below = 2 ** Math.floor(Math.log2(bytes));
  const step = Math.max(128 * mib, below / 4);
  return Math.ceil(bytes / step) * step;
}
