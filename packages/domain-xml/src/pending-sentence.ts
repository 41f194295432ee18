/** The one form of what waits for a machine's next start: `the CPU model becomes Nehalem at the next start (now qemu64)`. */
export const atNextStart = (what: string, wanted: string | number, now: string | number): string =>
  `${what} becomes ${wanted} at the next start (now ${now})`;
