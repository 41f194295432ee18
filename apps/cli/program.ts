/** All commands in one tree. The one place that knows which there are; `docs/reference/cli.md` is generated from it. */
import { Command, Option } from "commander";
import type { Cli } from "./cli.ts";
import { completionCommand } from "./commands/completion.ts";
import { documentCommands } from "./commands/documents.ts";
import { hostCommands } from "./commands/host.ts";
import { identityCommands } from "./commands/identity.ts";
import { networkCommands } from "./commands/network.ts";
import { sessionCommands } from "./commands/session.ts";
import { storageCommands } from "./commands/storage.ts";
import { systemCommands } from "./commands/system.ts";
import { taskCommands } from "./commands/task.ts";
import { vmCommands } from "./commands/vm.ts";
import { outputFormats } from "./output.ts";

export function buildProgram(cliOf: (program: Command) => Cli, now: () => number): Command {
  const program = new Command("sheaf");
  program
    .description("One pool out of many servers.")
    .version("0.1.0")
    .addOption(new Option("-o, --output <format>", "how results are written").choices([...outputFormats]).default("table"))
    .option("-p, --project <project>", "project that names are looked up in")
    .option("-s, --server <url>", "server to talk to; default: the one last signed in to")
    .option("-q, --quiet", "no hints, no progress", false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("(add --help for what is possible)")
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 not allowed, 6 unreachable.\n\nExamples:\n  sheaf vm create hello --image mini --wait\n  sheaf vm list\n  sheaf host drain h2 --wait",
    );
  const cli = cliOf(program);
  sessionCommands(program, cli);
  hostCommands(program, cli, now);
  vmCommands(program, cli, now);
  storageCommands(program, cli);
  networkCommands(program, cli);
  identityCommands(program, cli);
  taskCommands(program, cli, now);
  documentCommands(program, cli);
  systemCommands(program, cli);
  completionCommand(program, cli);
  withExamples(program, "sheaf");
  return program;
}

/** Options stand anywhere on the line, and every command's help ends with a line to try. */
function withExamples(command: Command, path: string): void {
  for (const each of command.commands) {
    const here = `${path} ${each.name()}`;
    each.exitOverride();
    if (each.commands.length === 0) {
      const values = each.registeredArguments.map((argument) => examples[argument.name()] ?? argument.name().toUpperCase());
      each.addHelpText("after", (context) => (context.error ? "" : `\nTry: ${[here, ...values].join(" ")}`));
    }
    withExamples(each, here);
  }
}

const examples: Readonly<Record<string, string>> = {
  name: "web-01",
  names: "web-01 web-02",
  host: "h1",
  "new-name": "web-02",
  volume: "data-1",
  vm: "web-01",
  size: "20GiB",
  uuid: "0b5c…",
  kind: "vm",
  shell: "bash",
  url: "https://sheaf.example:7443",
  "file-or-url": "./debian-12.qcow2",
  file: "file",
  id: "0199…",
  ids: "0199…",
  grants: "operator@shop",
  user: "alice",
};
