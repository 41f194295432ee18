/**
 * The `Logger` port on pino: one JSON object a line. Handed out by `main.ts`. Values under names that hold secrets are
 * blanked here, so that a careless call elsewhere leaks nothing.
 */
import { pino } from "pino";
import type { Logger } from "@sheaf/base";

export const logLevels = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

const secretFields = ["password", "token", "secret", "authorization", "userData", "privateKey"];

/** @param fileDescriptor where lines go: 1 = standard output, 2 = standard error */
export function createLogger(options: { level?: LogLevel; fileDescriptor?: number; fields?: Record<string, unknown> } = {}): Logger {
  const paths = secretFields.flatMap((field) => [field, `*.${field}`]);
  return pino(
    {
      level: options.level ?? "info",
      base: options.fields ?? {},
      redact: { paths, censor: "(secret)" },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: options.fileDescriptor ?? 1, sync: true }),
  );
}
