/** The newest lines of the server's own log, for the support bundle; everything goes on to the real log too. */
import type { Logger } from "@sheaf/base";

export interface LogRing {
  readonly logger: Logger;
  newest(lines: number): readonly string[];
}

export function logRing(target: Logger, now: () => number, keep = 2000): LogRing {
  const kept: string[] = [];
  const wrap = (to: Logger, fields: Record<string, unknown>): Logger => {
    const write = (level: "debug" | "info" | "warn" | "error") => (more: Record<string, unknown>, message: string) => {
      to[level](more, message);
      if (level === "debug") return;
      kept.push(JSON.stringify({ time: new Date(now()).toISOString(), level, message, ...fields, ...more }));
      if (kept.length > keep) kept.splice(0, kept.length - keep);
    };
    return {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
      child: (more) => wrap(to.child(more), { ...fields, ...more }),
    };
  };
  return { logger: wrap(target, {}), newest: (lines) => kept.slice(-lines) };
}
