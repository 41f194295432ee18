/** The ledger as people read it. */
import { median } from "../bench/statistics.ts";
import { totals, type LedgerLine } from "./ledger.ts";

export function reportText(lines: readonly LedgerLine[]): string {
  const stories = totals(lines);
  if (stories.length === 0) return "Nothing was played yet.\n";
  const rows = [
    ["story", "rounds", "passed", "failed", "broken off", "seeds", "hours"],
    ...stories.map(({ story, began, passed, failed, brokenOff, seeds, durationMs }) => [
      story,
      ...[began, passed, failed, brokenOff, seeds].map(String),
      (durationMs / 3_600_000).toFixed(2),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const table = rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join("  "),
  );
  const measured = stories.flatMap(({ story, figures }) =>
    [...figures].map(([name, all]) => `${story}, ${name}: median ${Math.round(median(all))}, largest ${Math.max(...all)} of ${all.length}`),
  );
  const failures = stories.flatMap(({ story, failures }) =>
    failures.map(({ seed, at, why, log }) => `${story}, seed ${seed}, ${at}: ${why}\n  ${log}`),
  );
  return `${[...table, ...(measured.length === 0 ? [] : ["", ...measured]), ...(failures.length === 0 ? [] : ["", ...failures])].join("\n")}\n`;
}
