/** `sheaf completion bash|zsh|fish`: generated from the commands themselves, so that it cannot fall behind. */
import { Argument, type Command } from "commander";
import type { Cli } from "../cli.ts";

export function completionCommand(program: Command, cli: Cli): void {
  program
    .command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>", "shell").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      "\nExamples:\n  sheaf completion bash > /etc/bash_completion.d/sheaf\n  sheaf completion fish > ~/.config/fish/completions/sheaf.fish",
    )
    .action((shell: string) => cli.terminal.out(completionScript(program, shell)));
}

/** Words that may follow each path of commands. */
export function wordsByPath(command: Command, path = ""): Map<string, string[]> {
  const options = command.options.flatMap((option) => option.long ?? []);
  const words = new Map([[path, [...command.commands.map((each) => each.name()), ...options, "--help"]]]);
  for (const each of command.commands)
    for (const entry of wordsByPath(each, path === "" ? each.name() : `${path} ${each.name()}`)) words.set(...entry);
  return words;
}

function completionScript(program: Command, shell: string): string {
  const words = wordsByPath(program);
  if (shell === "fish") {
    const lines = ["complete -c sheaf -f"];
    for (const [path, next] of words) {
      const steps = path.split(" ").filter(Boolean);
      const condition = steps.length === 0 ? "__fish_use_subcommand" : steps.map((step) => `__fish_seen_subcommand_from ${step}`).join("; and ");
      lines.push(`complete -c sheaf -n '${condition}' -a '${next.join(" ")}'`);
    }
    return lines.join("\n");
  }
  const cases = [...words].map(([path, next]) => `    "${path}") words="${next.join(" ")}" ;;`).join("\n");
  const body = `_sheaf() {
  local path="" word words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  while :; do
    case "$path" in
${cases}
    esac
    [ -n "$words" ] || [ -z "$path" ] && break
    case "$path" in *" "*) path="\${path% *}" ;; *) path="" ;; esac
  done
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _sheaf sheaf`;
  return shell === "bash" ? body : `autoload -U +X bashcompinit && bashcompinit\n${body}`;
}
