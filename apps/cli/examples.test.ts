import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "commander";
import type { Cli } from "./cli.ts";
import { examples } from "./examples.ts";
import { buildProgram } from "./program.ts";

const program = (): Command =>
  buildProgram(
    () => ({}) as Cli /* nothing runs */,
    () => 0,
  );

function leavesOf(command: Command, path = ""): [string, Command][] {
  const below = command.commands.filter((each) => each.name() !== "complete");
  return below.length === 0 ? [[path, command]] : below.flatMap((each) => leavesOf(each, path === "" ? each.name() : `${path} ${each.name()}`));
}

test("every command describes itself and has lines to try, and no line is left over", () => {
  const leaves = leavesOf(program());
  for (const [path, command] of leaves) {
    assert.ok(command.description().length > 5, path);
    assert.ok((examples[path]?.length ?? 0) > 0, `${path} has no example`);
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    assert.ok(help.includes(`Examples:\n  ${examples[path]?.[0]}`), help);
  }
  assert.deepEqual(
    Object.keys(examples).filter((path) => path !== "" && !leaves.some(([each]) => each === path)),
    [],
  );
});

for (const [path, lines] of Object.entries(examples))
  for (const line of lines)
    test(`its command takes: ${line}`, async () => {
      const root = program();
      let ran = "";
      for (const [each, command] of leavesOf(root)) command.action(() => void (ran = each));
      const words = (line.split(/ [>|;] /)[0] ?? "").split(" ");
      assert.equal(words[0], "sheaf");
      await root.parseAsync(["node", ...words]);
      assert.ok(path === "" || ran === path, `${ran} ran`);
    });
