/** All commands in one tree. The one place that knows which there are; `docs/reference/cli.md` is generated from it. */
import { Command, Option } from "commander";
import type { Cli } from "./cli.ts";
import { availabilityCommand } from "./commands/availability.ts";
import { completionCommand } from "./commands/completion.ts";
import { documentCommands } from "./commands/documents.ts";
import { hostCommands } from "./commands/host.ts";
import { identityCommands } from "./commands/identity.ts";
import { topCommand } from "./commands/metrics.ts";
import { networkCommands } from "./commands/network.ts";
import { sessionCommands } from "./commands/session.ts";
import { storageCommands } from "./commands/storage.ts";
import { placementCommands } from "./commands/placement.ts";
import { systemCommands } from "./commands/system.ts";
import { taskCommands } from "./commands/task.ts";
import { vmCommands } from "./commands/vm.ts";
import { examples } from "./examples.ts";
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
    .addHelpText("after", "\nExit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 not allowed, 6 unreachable.");
  const cli = cliOf(program);
  sessionCommands(program, cli);
  hostCommands(program, cli, now);
  vmCommands(program, cli, now);
  storageCommands(program, cli);
  networkCommands(program, cli);
  identityCommands(program, cli);
  taskCommands(program, cli, now);
  documentCommands(program, cli);
  availabilityCommand(program, cli);
  placementCommands(program, cli);
  topCommand(program, cli);
  systemCommands(program, cli);
  completionCommand(program, cli);
  withExamples(program);
  return program;
}

/** Every command's help ends with lines to try. */
function withExamples(command: Command, path = ""): void {
  const lines = examples[path] ?? [];
  if (lines.length > 0) command.addHelpText("after", ({ error }) => (error ? "" : `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`));
  for (const each of command.commands) {
    each.exitOverride();
    withExamples(each, path === "" ? each.name() : `${path} ${each.name()}`);
  }
}
