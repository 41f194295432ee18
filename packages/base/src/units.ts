/** Quantities as people type them, parsed once at the edge: `4GiB`, `500MB/s`, `90s`. Inside everything is bytes and ms. */
const byteFactors: Record<string, number> = {
  "": 1,
  B: 1,
  K: 2 ** 10,
  KiB: 2 ** 10,
  M: 2 ** 20,
  MiB: 2 ** 20,
  G: 2 ** 30,
  GiB: 2 ** 30,
  T: 2 ** 40,
  TiB: 2 ** 40,
  P: 2 ** 50,
  PiB: 2 ** 50,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
};
const durationFactors: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** @returns whole bytes, or `null` where `text` is no quantity of bytes or above 2^53. A bare letter is binary: `4G` = 4 GiB. */
export function parseBytes(text: string): number | null {
  return parseQuantity(text.replace(/\/s$/, ""), byteFactors);
}

/** @returns whole milliseconds, or `null`. The unit is required. */
export function parseDuration(text: string): number | null {
  return /[a-z]$/.test(text) ? parseQuantity(text, durationFactors) : null;
}

function parseQuantity(text: string, factors: Record<string, number>): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  const factor = match && Object.hasOwn(factors, match[2] ?? "") ? factors[match[2] ?? ""] : undefined;
  if (!match || factor === undefined) return null;
  const value = Math.round(Number(match[1]) * factor);
  return Number.isSafeInteger(value) ? value : null;
}

/** Bytes in the largest binary unit that keeps at most one digit after the point: `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}

/** Milliseconds for people: `350 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(1))} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}
