/**
 * `sheaf completion bash|zsh|fish` prints a few lines for the shell; they ask the hidden `sheaf complete -- WORDS` what may stand there. So
 * the answers come from the commands themselves and, for names, from the server.
 */
import { kinds, plurals, type Kind } from "@sheaf/model";
import { Argument, type Command, type Option } from "commander";
import type { Cli } from "../cli.ts";

/** Told to the shell in place of words: complete names of files. */
export const filesHere = ":files";

export function completionCommand(program: Command, cli: Cli): void {
  program
    .command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>", "shell").choices(Object.keys(scripts)))
    .action((shell: keyof typeof scripts) => cli.terminal.out(scripts[shell]));
  program
    .command("complete [words...]", { hidden: true })
    .description("what may stand in the place of the last word; for the completion scripts")
    .action(async (words: string[]) => {
      for (const word of await completions(program, words, (kind, given) => namesOf(cli, kind, given))) cli.terminal.out(word);
    });
}

/** Options given so far, by long name without hyphens. */
export type GivenOptions = ReadonlyMap<string, string>;
type Names = (kind: Kind, given: GivenOptions) => Promise<readonly string[]>;

/** @param words all after `sheaf`; the last one, perhaps empty, is being typed */
export async function completions(program: Command, words: readonly string[], names: Names): Promise<string[]> {
  const { command, given, positions, open, typed, prefix } = readWords(program, joinedAtEquals(words));
  const fitting = (found: readonly string[]): string[] =>
    found.flatMap((word) => (word === filesHere ? [word] : word.startsWith(typed) ? [prefix + word] : []));
  if (open !== undefined) return fitting(await valuesOf(open.argChoices, optionKind(open), open.flags, names, given));
  if (typed.startsWith("-")) {
    const flags = [...command.options, ...(command === program ? [] : program.options)].flatMap(({ long }) => long ?? []);
    return fitting([...flags, "--help"]);
  }
  if (command.commands.length > 0) return fitting([...command.commands.map((each) => each.name()).filter((name) => name !== "complete"), "help"]);
  const expected = command.registeredArguments;
  const argument = expected[positions] ?? expected.find(({ variadic }) => variadic);
  if (argument === undefined) return [];
  return fitting(
    await valuesOf(argument.argChoices ?? wordsOf(argument.name()), argumentKind(command, argument.name()), argument.name(), names, given),
  );
}

/** bash cuts `--output=json` into three words. */
function joinedAtEquals(words: readonly string[]): string[] {
  const joined: string[] = [];
  let open = false;
  for (const word of words) {
    const last = joined.at(-1);
    const assigns = word === "=" && last?.startsWith("--") === true;
    if (last !== undefined && (assigns || open)) joined[joined.length - 1] = last + word;
    else joined.push(word);
    open = assigns;
  }
  return joined;
}

function readWords(program: Command, words: readonly string[]) {
  let command = program;
  let positions = 0;
  let open: Option | undefined;
  const given = new Map<string, string>();
  const find = (flag: string): Option | undefined =>
    [...command.options, ...program.options].find(({ long, short }) => long === flag || short === flag);
  for (const word of words.slice(0, -1)) {
    const [flag = "", value] =
      word.startsWith("--") && word.includes("=") ? [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)] : [word];
    if (open !== undefined) {
      given.set(open.attributeName(), word);
      open = undefined;
    } else if (word.startsWith("-")) {
      const option = find(flag);
      if (option?.required !== true) continue;
      if (value === undefined) open = option;
      else given.set(option.attributeName(), value);
    } else {
      const next = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
      if (next === undefined) positions += 1;
      else command = next;
    }
  }
  const last = words.at(-1) ?? "";
  const at = last.startsWith("--") ? last.indexOf("=") : -1;
  const assigned = at < 0 ? undefined : find(last.slice(0, at));
  // bash replaces what stands behind `=` alone; the other shells replace the whole word.
  const cut = words.length > 0 && assigned?.required === true;
  return { command, given, positions, open: cut ? assigned : open, typed: cut ? last.slice(at + 1) : last, prefix: cut ? last.slice(0, at + 1) : "" };
}

async function valuesOf(
  choices: readonly string[] | undefined,
  kind: Kind | undefined,
  word: string,
  names: Names,
  given: GivenOptions,
): Promise<readonly string[]> {
  if (choices !== undefined) return choices;
  if (kind !== undefined) return names(kind, given);
  return /file|<dir>/.test(word) ? [filesHere] : [];
}

const wordsOf = (argument: string): string[] | undefined => (argument === "kind" ? kinds.flatMap((kind) => [kind, plurals[kind]]) : undefined);

const kindNamed = (word: string): Kind | undefined => kinds.find((kind) => kind === word);
function optionKind({ flags, long }: Option): Kind | undefined {
  if (long === "--scope") return "project";
  return kindNamed(/<([a-z]+)>/.exec(flags)?.[1] ?? "");
}
/** `vm start <names…>` takes names of vms; `volume attach <volume> <vm>` says it itself. */
function argumentKind(command: Command, argument: string): Kind | undefined {
  if (["create", "import"].includes(command.name())) return undefined;
  if (["name", "names", "id", "ids"].includes(argument)) return kindNamed(command.parent?.name() ?? "");
  return kindNamed(argument);
}

/** Silent where nothing can be asked: a shell that completes shows no errors. */
async function namesOf(cli: Cli, kind: Kind, given: GivenOptions): Promise<string[]> {
  const project = given.get("project");
  try {
    const client = await cli.client();
    const list = client[kind].list as (typeof client)["vm"]["list"]; // the lists differ in the record alone
    const { items } = await list({ query: { limit: 1000, fields: "id,name", ...(project === undefined ? {} : { project }) } });
    return items.map(({ id, name }) => (kind === "task" ? id : name));
  } catch {
    return [];
  }
}

const scripts = {
  bash: `_sheaf() {
  local found IFS=$'\\n'
  found=$("\${COMP_WORDS[0]}" complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  local current=\${COMP_WORDS[COMP_CWORD]}
  case $current in =) current= ;; esac
  if [ "$found" = "${filesHere}" ]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$current"))
  else
    # Behind --option= bash replaces the value alone.
    COMPREPLY=(\${found})
    [ "\${COMP_WORDS[COMP_CWORD]}" = = ] || [ "\${COMP_WORDS[COMP_CWORD-1]}" = = ] && COMPREPLY=("\${COMPREPLY[@]#--*=}")
  fi
}
complete -F _sheaf sheaf`,
  zsh: `#compdef sheaf
_sheaf() {
  local -a found
  found=("\${(@f)$("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "$found" == "${filesHere}" ]]; then
    _files
  else
    compadd -Q -- "\${(@)found:#}"
  fi
}
if [[ "$funcstack[1]" == _sheaf ]]; then _sheaf "$@"; else compdef _sheaf sheaf; fi`,
  fish: `function __sheaf_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (command $words[1] complete -- $words[2..-1] 2>/dev/null)
  if test "$found" = "${filesHere}"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c sheaf -f -a '(__sheaf_complete)'`,
} as const;
