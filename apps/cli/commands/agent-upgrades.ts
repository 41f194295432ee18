/** `sheaf host upgrade` and `sheaf cluster upgrade`: agents take the version that the server carries. */
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { get, showOne, text, type Row } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { countArgument, durationArgument } from "./arguments.ts";

/** The agent's version, and what it is about to become. */
export function agentColumn(row: Row): string | undefined {
  const version = text(row, "status.agent.agentVersion");
  const state = text(row, "status.agent.installation.upgrade.state");
  if (state === undefined || state === "done") return version;
  const wanted = text(row, "status.agent.installation.upgrade.version");
  if (get(row, "status.agent.installation.trial") === true) return `${version} (on trial)`;
  return `${version} → ${wanted} (${state})`;
}

interface Options {
  readonly check?: boolean;
  readonly wait?: boolean;
  readonly settle?: number;
  readonly hosts?: string;
  readonly parallel?: number;
}

export function addUpgrade(group: Command, cli: Cli, kind: "host" | "cluster"): void {
  const command = group
    .command("upgrade <name>")
    .description(
      kind === "host"
        ? "give its agent the version that the server carries; machines run on"
        : "give its hosts' agents the version that the server carries, one after the other; machines run on",
    )
    .option("--check", "only say what would be")
    .option("--settle <time>", "how long an agent must be well before the next has its turn; default: 15s", durationArgument);
  if (kind === "cluster")
    command.option("--hosts <hosts>", "only these, in this order: h1,h2").option("--parallel <count>", "hosts at once; default: 1", countArgument);
  command.option("--wait", kind === "host" ? "until it is through" : "until all are through").action(async (id: string, options: Options) => {
    const client = await cli.client();
    const params = { id };
    if (options.check) return showCheck(cli, await client[kind].upgradeCheck({ params }));
    const settle = options.settle === undefined ? {} : { settleMs: options.settle };
    const hosts = options.hosts?.split(",").map((name) => name.trim());
    const late = setTimeout(() => cli.terminal.note("The server makes the agent's archive, as it was not asked for one before …"), 1000);
    const { task } = await (
      kind === "host"
        ? client.host.upgrade({ params, body: settle })
        : client.cluster.upgrade({
            params,
            body: { ...settle, ...(hosts === undefined ? {} : { hosts }), ...(options.parallel === undefined ? {} : { parallel: options.parallel }) },
          })
    ).finally(() => clearTimeout(late));
    if (task === undefined) return;
    if (!options.wait) return cli.terminal.note(`${id}: begun, task ${task}; \`sheaf task cancel ${task}\` ends it`);
    await waitForTasks(cli, [task], "upgrade");
    const ended = await client.task.get({ params: { id: task } });
    cli.terminal.note(text(ended, "status.controller.message") ?? "done");
  });
}

interface Check {
  readonly version: string;
  readonly hosts: readonly {
    readonly name: string;
    readonly version?: string | undefined;
    readonly does: string;
    readonly why?: string | undefined;
  }[];
}

function showCheck(cli: Cli, check: Check): void {
  if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, { ...check });
  cli.terminal.out(`The server carries agent ${check.version}.`);
  for (const { name, version, does, why } of check.hosts) {
    const words = does === "upgrade" ? "will be upgraded" : does === "nothing" ? "has it already" : `is left out: ${why ?? ""}`;
    cli.terminal.out(`${name} (${version ?? "unknown"}) ${words}`);
  }
}
