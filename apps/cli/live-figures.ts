/** The live figures of a task (`status.live`): how far a move or an import has come. They are in the server's memory alone, and no watch tells them. */
import { formatBytes } from "@sheaf/base";

function figureOf(live: unknown, name: string): number | undefined {
  if (typeof live !== "object" || live === null) return undefined;
  const value = (live as Record<string, unknown>)[name]; // narrowed above
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** 0 … 100. */
export const livePercent = (live: unknown): number | undefined => figureOf(live, "percent");

/** `45 %, 72 MiB to go, 11 MiB/s`; empty where nothing is told. */
export function liveFigures(live: unknown): string {
  const figure = (name: string): number | undefined => figureOf(live, name);
  const percent = livePercent(live);
  const remaining = figure("remainingBytes");
  const rate = figure("bytesPerSecond");
  const [received, total] = [figure("receivedBytes"), figure("totalBytes")];
  return [
    percent === undefined ? "" : `${Math.round(percent)} %`,
    received === undefined ? "" : `${formatBytes(received)}${total === undefined ? "" : ` of ${formatBytes(total)}`}`,
    remaining === undefined ? "" : `${formatBytes(remaining)} to go`,
    rate === undefined || rate === 0 ? "" : `${formatBytes(rate)}/s`,
  ]
    .filter((part) => part !== "")
    .join(", ");
}

/** Calls `ask` every second, one call at a time. @returns what ends it */
export function everySecond(ask: () => Promise<void>): () => void {
  let asking = false;
  const timer = setInterval(() => {
    if (asking) return;
    asking = true;
    // What cannot be asked now is asked again.
    void ask()
      .catch(() => {})
      .finally(() => (asking = false));
  }, 1000);
  return () => clearInterval(timer);
}
