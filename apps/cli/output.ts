/** How results are written: tables for people, JSON and YAML for programs, names for loops. */
import { formatBytes, formatDuration } from "@sheaf/base";
import { stringify } from "yaml";
import type { Cli } from "./cli.ts";

export const outputFormats = ["table", "wide", "json", "yaml", "name"] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** Anything with the fields a table may show: a record of the API. */
export interface Row {
  readonly name?: string;
  readonly [field: string]: unknown;
}

export interface Column<R> {
  readonly title: string;
  readonly value: (row: R) => string | number | undefined;
  /** Shown with `--output wide` only. */
  readonly wide?: boolean;
}

export function show<R extends Row>(cli: Cli, rows: readonly R[], columns: readonly Column<R>[], options: { readonly single?: boolean } = {}): void {
  const { output } = cli.options();
  const documents = options.single ? rows[0] : rows;
  switch (output) {
    case "json":
      return cli.terminal.out(JSON.stringify(documents, null, 2));
    case "yaml":
      return cli.terminal.out(stringify(documents).trimEnd());
    case "name":
      return rows.forEach((row) => cli.terminal.out(String(row.name ?? row["id"])));
    case "table":
    case "wide":
      if (rows.length === 0) return cli.terminal.note("none");
      return cli.terminal.out(
        table(
          rows,
          columns.filter((column) => output === "wide" || !column.wide),
          cli.terminal.colors,
        ),
      );
  }
}

/** One record as indented lines, or in the format asked for. */
export function showOne(cli: Cli, record: Row): void {
  const { output } = cli.options();
  if (output === "json") return cli.terminal.out(JSON.stringify(record, null, 2));
  if (output === "name") return cli.terminal.out(String(record.name ?? record["id"]));
  return cli.terminal.out(stringify(record).trimEnd());
}

function table<R>(rows: readonly R[], columns: readonly Column<R>[], colors: boolean): string {
  const cells = rows.map((row) => columns.map((column) => visible(String(column.value(row) ?? "-"))));
  const widths = columns.map((column, index) => Math.max(width(column.title), ...cells.map((cell) => width(cell[index] ?? ""))));
  const line = (cell: readonly string[]): string =>
    cell
      .map((text, index) => text + " ".repeat(Math.max(0, (widths[index] ?? 0) - width(text))))
      .join("  ")
      .trimEnd();
  const head = line(columns.map((column) => column.title));
  return [colors ? `\u001b[2m${head}\u001b[22m` : head, ...cells.map(line)].join("\n");
}

/** Texts of guests, hosts and programs move no cursor and ring no bell. */
export const visible = (text: string): string => text.replaceAll(/\p{Cc}/gu, "\ufffd");

/** Columns on a terminal: Chinese, Japanese and Korean characters take two. */
export function width(text: string): number {
  let columns = 0;
  for (const character of text)
    columns += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u.test(character)
      ? 2
      : 1;
  return columns;
}

export const bytes = (value: unknown): string | undefined => (typeof value === "number" ? formatBytes(value) : undefined);
export const age = (since: unknown, nowMs: number): string | undefined =>
  typeof since === "number" ? formatDuration(Math.max(0, nowMs - since)) : undefined;
/** Reads a dotted path of a loose document: `get(record, "status.agent.state")`. */
export function get(document: unknown, path: string): unknown {
  let value: unknown = document;
  for (const step of path.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<string, unknown>)[step]; // an object, by the line before
  }
  return value;
}
export const text = (document: unknown, path: string): string | undefined => {
  const value = get(document, path);
  return value === undefined || value === null ? undefined : String(value);
};
