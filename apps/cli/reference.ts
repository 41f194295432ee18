/** `docs/reference/cli.md`, generated from the commands themselves; reference.test.ts holds the file to it. */
import type { Command } from "commander";
import { examples } from "./examples.ts";

export function cliReference(program: Command): string {
  const lines = [
    "# Command line",
    "",
    "Generated from the commands; `SHEAF_UPDATE_GOLDEN=1 npm run test:fast` writes it anew.",
    "",
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused (conflict, precondition, quota), 5 not allowed, 6 unreachable.",
    "",
    "Options of every command:",
    "",
  ];
  lines.push(...program.options.map((option) => `- \`${option.flags}\`: ${option.description}`), "");
  const add = (command: Command, path: string): void => {
    if (command.commands.length > 0) lines.push(`## ${path}`, "", `${sentence(command.description())}`, "");
    else {
      const words = command.registeredArguments.map((argument) => {
        const name = `${argument.name()}${argument.variadic ? "…" : ""}`;
        return argument.required ? `<${name}>` : `[${name}]`;
      });
      lines.push(`### ${[path, ...words].join(" ")}`, "", sentence(command.description()), "");
      if (command.options.length > 0) lines.push(...command.options.map((option) => `- \`${option.flags}\`: ${option.description}`), "");
      lines.push("```sh", ...(examples[path.replace(/^sheaf /, "")] ?? []), "```", "");
    }
    for (const each of shown(command)) add(each, `${path} ${each.name()}`);
  };
  // Single commands first, then the nouns with theirs.
  for (const each of shown(program).toSorted((a, b) => Number(a.commands.length > 0) - Number(b.commands.length > 0)))
    add(each, `sheaf ${each.name()}`);
  return `${lines.join("\n").trimEnd()}\n`;
}

/** Without what is hidden from people. */
const shown = (command: Command): Command[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => each.name() !== "help");
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
