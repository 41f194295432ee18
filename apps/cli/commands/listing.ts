/** What every noun has: list, show, delete, with filters, pages and formats. A noun's own file adds its columns and verbs. */
import type { Client } from "@sheaf/client";
import { SheafError } from "@sheaf/model";
import type { Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { show, showOne, text, type Column, type Row } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { countArgument } from "./arguments.ts";

/** Groups of the client that have the common routes. */
type ListedGroup = "vm" | "host" | "cluster" | "pool" | "volume" | "image" | "network" | "project" | "user" | "role" | "token" | "task";
type ListInput = NonNullable<Parameters<Client["vm"]["list"]>[0]>;

export async function listAll(
  cli: Cli,
  group: ListedGroup,
  query: Record<string, string | number | undefined>,
  most = Number.POSITIVE_INFINITY,
): Promise<Row[]> {
  const client = await cli.client();
  // One signature stands for all groups: their list routes differ in the record alone, read loosely here.
  const list = client[group].list as (input: ListInput) => Promise<{ items: Row[]; next?: string }>;
  const items: Row[] = [];
  let cursor: string | undefined;
  do {
    const page = await list({ query: { ...scoped(cli), ...query, limit: Math.min(1000, most - items.length), cursor } });
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== undefined && items.length < most);
  return items;
}

/** @param columns a function where they need to know more than the rows; asked for tables alone */
export function addListing(
  noun: Command,
  cli: Cli,
  group: ListedGroup,
  columns: readonly Column<Row>[] | (() => Promise<readonly Column<Row>[]>),
  /** What people see below one that is shown. */
  below?: (record: Row) => Promise<void>,
): void {
  noun
    .command("list")
    .alias("ls")
    .description(`list ${group}s`)
    .option("--filter <conditions>", "such as state=running,spec.cpu.count>2")
    .option("--label <selector>", "such as tier=web,env!=test")
    .option("--sort <field>", "field to sort by, - before it for descending")
    .option("--limit <count>", "at most so many", countArgument)
    .action(async (options: { filter?: string; label?: string; sort?: string; limit?: number }) => {
      const { limit, ...query } = options;
      const rows = await listAll(cli, group, query, limit);
      const { output } = cli.options();
      if (typeof columns !== "function") show(cli, rows, columns);
      else show(cli, rows, rows.length > 0 && (output === "table" || output === "wide") ? await columns() : []);
    });
  noun
    .command("show <name>")
    .description(`show one ${group}, by name or id`)
    .action(async (id: string) => {
      const client = await cli.client();
      const record = (await client[group].get({ params: { id }, query: scoped(cli) })) as Row; // records are rows
      showOne(cli, record);
      if (["table", "wide"].includes(cli.options().output)) await below?.(record);
    });
}

export function addDelete(noun: Command, cli: Cli, group: Exclude<ListedGroup, "task">): void {
  noun
    .command("delete <names...>")
    .alias("rm")
    .description(`delete ${group}s`)
    .option("--wait", "until they are gone")
    .action(async (names: string[], options: { wait?: boolean }) => {
      const client = await cli.client();
      const tasks: string[] = [];
      for (const id of names) {
        const { task } = await client[group].delete({ params: { id }, query: scoped(cli) });
        if (task !== undefined) tasks.push(task);
        cli.terminal.note(`${group} ${id}: ${task === undefined ? "deleted" : "is being deleted"}`);
      }
      if (options.wait) await waitForTasks(cli, tasks, "deleted");
    });
}

export const nameColumn: Column<Row> = { title: "NAME", value: (row) => row.name };
export const idColumn: Column<Row> = { title: "ID", value: (row) => text(row, "id"), wide: true };

/** Names of hosts by id, for tables; empty where the caller may not list them. */
export async function hostNames(cli: Cli): Promise<ReadonlyMap<string, string>> {
  try {
    return new Map((await listAll(cli, "host", { fields: "id,name" })).map(({ id, name }) => [String(id), String(name)]));
  } catch (error) {
    if (error instanceof SheafError && error.code === "not-allowed") return new Map();
    throw error;
  }
}
