/** `sheaf host sleep` and `wake`: a host without machines is shut down until it is needed, and turned on again. */
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { waitForTasks } from "../wait.ts";

export function addPower(host: Command, cli: Cli): void {
  for (const [verb, description, until] of [
    ["sleep", "put hosts without machines to sleep: they are shut down, and woken when they are needed or asked for", "asleep"],
    ["wake", "turn sleeping hosts on", "awake"],
  ] as const) {
    host
      .command(`${verb} <names...>`)
      .description(description)
      .option("--reason <text>", "why, for those who look at it later")
      .option("--wait", `until they are ${until}`)
      .action(async (names: string[], { reason, wait }: { reason?: string; wait?: boolean }) => {
        const client = await cli.client();
        const tasks: string[] = [];
        for (const id of names) {
          const { task } = await client.host[verb]({ params: { id }, body: reason === undefined ? {} : { reason } });
          if (task !== undefined) tasks.push(task);
          if (!wait) cli.terminal.note(`${id}: asked for${task === undefined ? "" : `, task ${task}`}`);
        }
        if (wait) await waitForTasks(cli, tasks, until);
      });
  }
}
