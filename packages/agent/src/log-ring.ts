/** The newest lines of the agent's own log, for `host.logs`: a logger that passes on and remembers. */
import type { Logger } from "@sheaf/base";

export interface LogRing {
  readonly logger: Logger;
  /** Newest lines, oldest first. */
  lines(count: number): string[];
}

const capacity = 2000;

export function logRing(inner: Logger, now: () => number): LogRing {
  const kept: string[] = [];
  const keep = (level: string, fields: Record<string, unknown>, message: string): void => {
    kept.push(`${new Date(now()).toISOString()} ${level} ${message} ${JSON.stringify(fields)}`.slice(0, 2000));
    if (kept.length > capacity) kept.splice(0, kept.length - capacity);
  };
  const around = (logger: Logger, own: Record<string, unknown>): Logger => ({
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => (keep("info", { ...own, ...fields }, message), logger.info(fields, message)),
    warn: (fields, message) => (keep("warn", { ...own, ...fields }, message), logger.warn(fields, message)),
    error: (fields, message) => (keep("error", { ...own, ...fields }, message), logger.error(fields, message)),
    child: (fields) => around(logger.child(fields), { ...own, ...fields }),
  });
  return { logger: around(inner, {}), lines: (count) => kept.slice(-Math.max(0, Math.min(count, capacity))) };
}
