import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Cli } from "./cli.ts";
import { completions } from "./commands/completion.ts";
import { buildProgram } from "./program.ts";

const program = buildProgram(
  () => ({}) as Cli /* nothing runs */,
  () => 0,
);
const asked: string[] = [];
const complete = (line: string): Promise<string[]> =>
  completions(program, line.split(" "), async (kind, given) => {
    asked.push(`${kind} ${given.get("project") ?? ""}`.trim());
    return [`${kind}-one`, `${kind}-two`];
  });

const cases: readonly (readonly [line: string, found: readonly string[]])[] = [
  ["v", ["vm", "volume"]],
  ["vm sta", ["start"]],
  ["vm start vm-o", ["vm-one"]],
  ["vm start vm-one vm-", ["vm-one", "vm-two"]],
  ["vm create ", []],
  ["vm create web --im", ["--image"]],
  ["vm create web --image ", ["image-one", "image-two"]],
  ["vm create web --count 3 --on ho", ["host-one", "host-two"]],
  ["-o json vm sto", ["stop"]],
  ["vm list -o w", ["wide"]],
  ["vm list --output=j", ["--output=json"]],
  ["vm list --output = j", ["--output=json"]],
  ["vm list --output =", ["--output=table", "--output=wide", "--output=json", "--output=yaml", "--output=name"]],
  ["volume attach volume-one ", ["vm-one", "vm-two"]],
  ["volume attach vol", ["volume-one", "volume-two"]],
  ["host drain ", ["host-one", "host-two"]],
  ["get netw", ["network", "networks"]],
  ["watch ta", ["task", "tasks"]],
  ["apply -f ", [":files"]],
  ["image import debian ", [":files"]],
  ["completion ", ["bash", "zsh", "fish"]],
  ["admin ", ["reset-password", "help"]],
  ["vm delete --no-such x --la", ["--label"]],
  ["vm show vm-one ", []],
  ["compl", ["completion"]],
];
for (const [line, found] of cases)
  test(`sheaf ${line}⇥`, async () =>
    assert.deepEqual(
      (await complete(line)).filter((word) => !word.startsWith(":") || word === ":files"),
      found,
    ));

test("names are those of the project that was named", async () => {
  await complete("-p shop vm start ");
  assert.equal(asked.at(-1), "vm shop");
});

/** There is no server here: names are left to the test above. */
const root = join(import.meta.dirname, "../..");
let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "sheaf-completion-"));
  await writeFile(join(folder, "sheaf"), `#!/bin/sh\nexec ${root}/sheaf "$@"\n`);
  await chmod(join(folder, "sheaf"), 0o755);
  await writeFile(join(folder, "web one.yaml"), "");
});
after(() => rm(folder, { recursive: true }));

const inShell = (shell: string, script: string): Promise<string> =>
  new Promise((resolve, reject) =>
    execFile(
      shell,
      ["-c", script],
      { cwd: folder, env: { ...process.env, PATH: `${folder}:${process.env["PATH"]}`, SHEAF_CONFIG: join(folder, "none.json") }, timeout: 30_000 },
      (error, out, words) => (error ? reject(new Error(words || error.message)) : resolve(out.trim())),
    ),
  );
const bash = (words: readonly string[]): Promise<string> =>
  inShell(
    "bash",
    `source <(sheaf completion bash); COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _sheaf; printf '%s\\n' "\${COMPREPLY[@]}"`,
  );

test("bash completes by the script", { timeout: 60_000 }, async () => {
  assert.equal(await bash(["sheaf", "vm", "sta"]), "start");
  assert.equal(await bash(["sheaf", "vm", "list", "--output", "=", "j"]), "json");
  assert.equal(await bash(["sheaf", "vm", "list", "-o", "y"]), "yaml");
  assert.equal(await bash(["sheaf", "apply", "-f", "we"]), "web one.yaml");
  assert.equal(await bash(["sheaf", "vm", "start", ""]), "");
});

const there = (shell: string): boolean => spawnSync(shell, ["-c", "true"]).status === 0;
test("zsh takes the script", { skip: there("zsh") ? false : "no zsh", timeout: 60_000 }, async () => {
  const script = `autoload -U compinit; compinit -u -D; source <(sheaf completion zsh); print $_comps[sheaf]
    compadd() { shift 2; print -l -- "$@" }; words=(sheaf vm sta); CURRENT=3; _sheaf`;
  assert.equal(await inShell("zsh", script), "_sheaf\nstart");
});
test("fish completes by the script", { skip: there("fish") ? false : "no fish", timeout: 60_000 }, async () =>
  assert.equal(await inShell("fish", "sheaf completion fish | source; complete -C 'sheaf vm sta'"), "start"),
);
