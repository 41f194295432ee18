/** `sheaf vm metrics`, `sheaf host metrics`, `sheaf top`: figures over time. */
import { formatBytes } from "@sheaf/base";
import { hostMetricNames, metrics, vmMetricNames } from "@sheaf/model";
import { type Command, Option } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { show, showOne, type Column } from "../output.ts";
import { countArgument, durationArgument } from "./arguments.ts";

const shown = {
  vm: ["cpu", "memoryUsedBytes", "diskReadBytesPerSecond", "diskWriteBytesPerSecond", "netReceiveBytesPerSecond", "netTransmitBytesPerSecond"],
  host: [
    "cpu",
    "cpuIowait",
    "memoryUsedBytes",
    "diskReadBytesPerSecond",
    "diskWriteBytesPerSecond",
    "netReceiveBytesPerSecond",
    "netTransmitBytesPerSecond",
  ],
} as const;
const figuresShown = 30;

interface MetricsOptions {
  readonly metric?: string[];
  readonly last: number;
  readonly step?: number;
  readonly by: string;
}
interface Line {
  readonly at: number;
  readonly [figure: string]: number | null;
}

export function addMetrics(parent: Command, cli: Cli, kind: keyof typeof shown, now: () => number): void {
  const names = kind === "vm" ? vmMetricNames : hostMetricNames;
  parent
    .command("metrics <name>")
    .description("figures of the last while: CPU, memory, disks, network")
    .option("--metric <names...>", `which ones, of ${names.join(", ")}`)
    .option("--last <time>", "how far back", durationArgument, 3_600_000)
    .option("--step <time>", "time of one line; default: some 30 lines", durationArgument)
    .option("--by <way>", "what a line is of all in its time: mean, max, min, p95 …", "mean")
    .action(async (id: string, options: MetricsOptions) => {
      const client = await cli.client();
      const wanted = options.metric ?? shown[kind];
      const to = now();
      const query = {
        metrics: wanted.join(","),
        from: Math.max(0, to - options.last),
        to,
        stepMs: options.step ?? Math.max(10_000, Math.ceil(options.last / figuresShown / 10_000) * 10_000),
        by: options.by,
      };
      const series =
        kind === "vm"
          ? await client.vm.metrics({ params: { id }, query: { ...scoped(cli), ...query } })
          : await client.host.metrics({ params: { id }, query });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, series);
      const rows = series.values[wanted[0] ?? ""]?.length ?? 0;
      const lines = Array.from({ length: rows }, (_, row): Line => ({
        at: series.from + row * series.stepMs,
        ...Object.fromEntries(wanted.map((name) => [name, series.values[name]?.[row] ?? null])),
      }));
      show(cli, lines, [
        { title: "AT", value: ({ at }) => new Date(at).toISOString().slice(0, 19) },
        ...wanted.map((name): Column<Line> => ({ title: titleOf(name), value: (line) => withUnit(name, line[name] ?? null) })),
      ]);
    });
}

export function topCommand(program: Command, cli: Cli): void {
  const top = program.command("top").description("who uses most");
  for (const kind of ["vm", "host"] as const) {
    const names = kind === "vm" ? vmMetricNames : hostMetricNames;
    top
      .command(`${kind}s`)
      .description(`${kind === "vm" ? "machines" : "hosts"} with the greatest figures of the last while`)
      .addOption(new Option("--by <metric>", "which figure").choices([...names]).default("cpu"))
      .option("--last <time>", "of how long, at most a day", durationArgument, 600_000)
      .option("--max", "the greatest in that time instead of the mean")
      .option("--count <count>", "how many", countArgument, 10)
      .action(async (options: { by: string; last: number; max?: boolean; count: number }) => {
        const client = await cli.client();
        const query = { metric: options.by, windowMs: options.last, by: options.max ? "max" : "mean", count: options.count } as const;
        const { items } = kind === "vm" ? await client.vm.top({ query: { ...scoped(cli), ...query } }) : await client.host.top({ query });
        show(cli, items, [
          { title: "NAME", value: ({ name }) => name },
          { title: titleOf(options.by), value: ({ value }) => withUnit(options.by, value) },
          { title: "ID", value: ({ id }) => id, wide: true },
        ]);
      });
  }
}

/** `diskReadBytesPerSecond` → `DISK READ` */
const titleOf = (name: string): string =>
  name
    .replace(/(BytesPerSecond|PerSecond|Bytes|Microseconds|Celsius|Watts)$/, "")
    .replaceAll(/([A-Z])/g, " $1")
    .toUpperCase();

function withUnit(name: string, value: number | null): string | undefined {
  if (value === null) return undefined;
  if (name.endsWith("BytesPerSecond")) return `${formatBytes(Math.round(value))}/s`;
  if (name.endsWith("Bytes")) return formatBytes(Math.round(value));
  if (name.endsWith("PerSecond")) return `${value.toFixed(value < 10 ? 1 : 0)}/s`;
  if (name.endsWith("Microseconds")) return `${(value / 1000).toFixed(2)} ms`;
  if (name.endsWith("Celsius")) return `${value.toFixed(1)} °C`;
  if (name.endsWith("Watts")) return `${value.toFixed(0)} W`;
  const quantum = [...metrics.vm, ...metrics.host].find((metric) => metric.name === name)?.quantum ?? 1;
  return value.toFixed(quantum < 1 ? 3 : 0);
}
