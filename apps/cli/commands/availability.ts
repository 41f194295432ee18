/** `sheaf availability`: how long machines served in a month, against the target of their project. */
import { formatDuration } from "@sheaf/base";
import type { Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { show, showOne, type Column } from "../output.ts";

interface Figures {
  readonly upMs: number;
  readonly downMs: number;
  readonly unknownMs: number;
  readonly percent: number | null;
  readonly causes: Readonly<Partial<Record<string, { readonly count: number; readonly ms: number }>>>;
}
interface Line {
  readonly name: string;
  readonly figures: Figures;
  readonly target?: number;
  readonly met?: boolean | null;
  readonly [field: string]: unknown;
}

export function availabilityCommand(program: Command, cli: Cli): void {
  program
    .command("availability")
    .description("how long machines served in a month, against their project's target, and what each outage came from")
    .option("--vm <name>", "of one machine, with its outages")
    .option("--month <month>", "such as 2026-11 (UTC); default: this one")
    .action(async (options: { vm?: string; month?: string }) => {
      const client = await cli.client();
      const report = await client.system.availability({ query: { ...scoped(cli), ...options, limit: 20 } });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, report);
      const lines: Line[] = [
        ...(report.site ? [{ name: "site", figures: report.site }] : []),
        ...report.projects.map((project) => ({ name: `project ${project.name}`, figures: project, target: project.targetPercent, met: project.met })),
        // Of a whole site only those that were down.
        ...report.machines
          .filter((machine) => options.vm !== undefined || machine.downMs + machine.unknownMs > 0)
          .map((machine) => ({ name: `machine ${machine.name}`, figures: machine })),
      ];
      show(cli, lines, columns);
      const [machine] = options.vm === undefined ? [] : report.machines;
      if (machine && machine.outages.length > 0)
        show(cli, machine.outages, [
          { title: "FROM", value: ({ from }) => new Date(from).toISOString() },
          { title: "LASTED", value: ({ from, to }) => (to === undefined ? "still lasts" : formatDuration(to - from)) },
          { title: "CAUSE", value: ({ cause }) => cause },
          { title: "DETAIL", value: ({ detail }) => detail },
        ]);
    });
}

const columns: readonly Column<Line>[] = [
  { title: "OF", value: ({ name }) => name },
  { title: "AVAILABLE", value: ({ figures }) => percent(figures.percent) },
  { title: "TARGET", value: ({ target }) => (target === undefined ? undefined : `${target} %`) },
  { title: "MET", value: ({ met }) => (typeof met === "boolean" ? (met ? "yes" : "no") : undefined) },
  { title: "DOWN", value: ({ figures }) => formatDuration(figures.downMs) },
  { title: "UNKNOWN", value: ({ figures }) => formatDuration(figures.unknownMs) },
  {
    title: "OUTAGES",
    value: ({ figures }) =>
      Object.entries(figures.causes)
        .map(([cause, value]) => `${value?.count ?? 0} ${cause} ${formatDuration(value?.ms ?? 0)}`)
        .join(", ") || undefined,
  },
];

/** Rounded down: what was not wholly up is never shown as 100 %. */
const percent = (value: number | null): string | undefined => (value === null ? undefined : `${(Math.floor(value * 10_000) / 10_000).toFixed(4)} %`);
