/** `sheaf task …` */
import { taskProgress, taskState, type TaskStatus } from "@sheaf/model";
import type { Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { age, get, text, visible } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { addListing, idColumn } from "./listing.ts";

export function taskCommands(program: Command, cli: Cli, now: () => number): void {
  const task = program.command("task").description("receipts of what is under way");
  addListing(task, cli, "task", [
    { ...idColumn, wide: false },
    { title: "VERB", value: (row) => text(row, "spec.verb") },
    { title: "TARGET", value: (row) => `${text(row, "spec.target.kind")} ${text(row, "spec.target.name")}` },
    { title: "STATE", value: (row) => taskState((get(row, "status") ?? {}) as TaskStatus /* a task's record */) },
    { title: "BY", value: (row) => text(row, "spec.requestedBy") },
    { title: "AGE", value: (row) => age(row["createdAt"], now()) },
    { title: "MESSAGE", value: (row) => taskProgress((get(row, "status") ?? {}) as TaskStatus)?.message },
  ]);
  task
    .command("watch <ids...>")
    .description("follow tasks to their ends; fails when one of them fails")
    .action((ids: string[]) => waitForTasks(cli, ids, "done"));
  task
    .command("cancel <id>")
    .description("ask a task to stop")
    .action(async (id: string) => {
      await (await cli.client()).task.cancel({ params: { id }, query: scoped(cli) });
      cli.terminal.note(`${id}: asked to stop`);
    });
  task
    .command("log <id>")
    .description("what a task has logged")
    .action(async (id: string) => {
      const { lines } = await (await cli.client()).task.log({ params: { id }, query: scoped(cli) });
      for (const line of lines) cli.terminal.out(`${new Date(line.at).toISOString()}  ${visible(line.text)}`);
    });
}
