/** `sheaf cluster balance NAME --history`: how evenly hosts were used over time, and what was moved: why, what was promised, what it came to. */
import { SheafError } from "@sheaf/model";
import type { Cli } from "../cli.ts";
import { show, showOne } from "../output.ts";

const linesShown = 24;
const figures = ["hottestHost", "spread", "level"] as const;

export async function showHistory(cli: Cli, id: string, { from, to }: { readonly from: number; readonly to: number }): Promise<void> {
  const client = await cli.client();
  const plans = (await client.cluster.balanceHistory({ params: { id } })).plans.filter(({ at }) => at >= from);
  const stepMs = Math.max(10_000, Math.ceil((to - from) / linesShown / 10_000) * 10_000);
  const series = await client.cluster
    .metrics({ params: { id }, query: { metrics: figures.join(","), from, to, stepMs, by: "mean" } })
    .catch((error: unknown) => {
      // A server without telemetry: what was moved is told all the same.
      if (error instanceof SheafError && error.code === "unavailable") return undefined;
      throw error;
    });
  if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, { name: id, plans, ...(series ? { series } : {}) });
  const moment = (at: number): string => new Date(at).toISOString().slice(0, 16).replace("T", " ");
  if (series) {
    const percent = (figure: (typeof figures)[number], line: number): string | undefined => {
      const share = series.values[figure]?.[line];
      return typeof share === "number" ? (100 * share).toFixed(1) : undefined;
    };
    const lines = (series.values["level"] ?? []).map((_, line) => line);
    show(
      cli,
      lines.map((line) => ({ line })),
      [
        { title: "AT", value: ({ line }) => moment(series.from + line * series.stepMs) },
        { title: "HOTTEST %", value: ({ line }) => percent("hottestHost", line) },
        { title: "SPREAD", value: ({ line }) => percent("spread", line) },
        { title: "LEVEL %", value: ({ line }) => percent("level", line) },
      ],
    );
  } else cli.terminal.note("This server keeps no figures over time.");
  const out = (line: string): void => cli.terminal.out(line);
  if (plans.length === 0) out("Nothing was moved.");
  for (const { at, task, requestedBy, state, moves, before, promised, measured, settled } of plans) {
    const moved = moves.filter((move) => move.state === "moved").length;
    out(`${moment(at)} ${state}, ${moved} of ${moves.length} moved, asked for by ${requestedBy} (task ${task})`);
    const told = (figure: "hottestPercent" | "spreadPoints"): string =>
      [before, promised, measured, settled].map((score) => score?.[figure].toFixed(0) ?? "?").join(" → ");
    out(`  before → promised → at its end → ten minutes later: hottest host ${told("hottestPercent")} %, spread ${told("spreadPoints")} points`);
    for (const { name, fromName, toName, reason, state: how, why } of moves)
      out(`  ${name}: ${fromName} → ${toName} ${how === "moved" ? `(${reason})` : `${how}${why === undefined ? "" : `: ${why}`}`}`);
  }
}
