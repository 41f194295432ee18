/** Words of the command line turned into values; what is wrong is refused with what would be right. */
import { parseBytes, parseDuration } from "@sheaf/base";
import { InvalidArgumentError } from "commander";

export function bytesArgument(text: string): number {
  const value = parseBytes(text);
  if (value === null) throw new InvalidArgumentError("Give a size such as 512MiB, 4GiB or 20GB.");
  return value;
}
export function durationArgument(text: string): number {
  const value = parseDuration(text);
  if (value === null) throw new InvalidArgumentError("Give a time such as 30s, 5m, 2h or 7d.");
  return value;
}
export function countArgument(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("Give a whole number.");
  return Number(text);
}
/** How many machines one command makes. */
export function machinesArgument(text: string): number {
  const count = countArgument(text);
  if (count < 1 || count > 1000) throw new InvalidArgumentError("Give a number from 1 to 1000.");
  return count;
}
/** Repeatable `key=value`. */
export function labelArgument(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Give a label as key=value.");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
export const listArgument = (text: string, before: readonly string[] = []): string[] => [...before, text];

/** `web` with 3 → `web-01`, `web-02`, `web-03`; with 1 → `web`. Numbers are as wide as the count, at least two digits. */
export function numberedNames(name: string, count: number): string[] {
  if (count === 1) return [name];
  const digits = Math.max(2, String(count).length);
  return Array.from({ length: count }, (_, index) => `${name}-${String(index + 1).padStart(digits, "0")}`);
}

/** Runs `work` over `items`, at most `limit` at once; results in order; the first error is thrown after all have ended. */
export async function inParallel<T, R>(items: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const errors: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next;
      next += 1;
      try {
        results[index] = await work(items[index] as T /* below the length */);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (errors.length > 0) throw errors[0];
  return results;
}
