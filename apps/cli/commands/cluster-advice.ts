/** `sheaf cluster advice`: which moves are advised and since when; accepting them, and leaving machines where they are. */
import { formatDuration } from "@sheaf/base";
import type { Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { showOne } from "../output.ts";
import { durationArgument } from "./arguments.ts";
import { carryOut, round } from "./cluster-balance.ts";

interface DismissOptions {
  readonly vm?: string[];
  readonly id?: string;
  readonly for?: number;
  readonly undo?: boolean;
}

export function addAdvice(cluster: Command, cli: Cli, now: () => number): void {
  const advice = cluster.command("advice").description("moves that would help, until they are carried out or dismissed");
  advice
    .command("list [name]")
    .description("which moves are advised, since when and with what gain, and which were dismissed; without a name: of all clusters")
    .action(async (name: string | undefined) => {
      const client = await cli.client();
      const names = name === undefined ? (await client.cluster.list({ query: { limit: 1000 } })).items.map((each) => each.name) : [name];
      for (const id of names) showAdvice(cli, id, await client.cluster.advice({ params: { id } }), now());
    });
  advice
    .command("accept <name>")
    .description("carry it out; with --id just what was read: refused where the cluster is not what it was")
    .option("--id <advice>", "as `list` shows it; default: what is advised now")
    .option("--wait", "until all moves have ended")
    .action((name: string, { id, wait }: { id?: string; wait?: boolean }) => carryOut(cli, name, id, wait));
  advice
    .command("dismiss <name>")
    .description("leave the machines where they are: balancing moves them no more while they are there")
    .option("--vm <names...>", "only these; default: all that are advised to move")
    .option("--id <advice>", "as `list` shows it; default: what is advised now")
    .option("--for <time>", "for so long, such as 8h or 7d; default: for good", durationArgument)
    .option("--undo", "let those that were dismissed be advised again")
    .action(async (id: string, { vm: vms, id: read, for: forMs, undo }: DismissOptions) => {
      const forMinutes = undo ? 0 : forMs === undefined ? undefined : Math.max(1, Math.round(forMs / 60_000));
      const body = { ...(vms ? { vms } : {}), ...(read === undefined ? {} : { advice: read }), ...(forMinutes === undefined ? {} : { forMinutes }) };
      await (await cli.client()).cluster.dismissAdvice({ params: { id }, query: { ...scoped(cli) }, body });
      const who = vms?.join(", ") ?? "all";
      cli.terminal.note(undo ? `${id}: ${who} may be advised to move again` : `${id}: dismissed (${who})`);
    });
}

type Advice = Awaited<ReturnType<Awaited<ReturnType<Cli["client"]>>["cluster"]["advice"]>>;

function showAdvice(cli: Cli, name: string, found: Advice, now: number): void {
  if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, { name, ...found });
  const { mode, goal, advice, since, notNow, before, promised, moves, dismissed, task } = found;
  const out = (line: string): void => cli.terminal.out(line);
  const age = since === undefined ? "" : `, called for since ${formatDuration(Math.max(0, now - since))}`;
  out(`${name}: mode ${mode}, goal ${goal}${moves.length === 0 ? "; nothing is advised" : `; ${moves.length} moves${age}`}.`);
  if (task !== undefined) out(`  Moves are under way: \`sheaf task watch ${task}\`.`);
  for (const move of moves) out(`  ${move.name}: ${move.fromName} → ${move.toName} (${move.reason})`);
  if (before && promised && moves.length > 0) {
    const gain = (was: number, is: number): string => `${round(was)} → ${round(is)}`;
    out(
      `  Hottest host ${gain(before.hottestPercent, promised.hottestPercent)} %, spread ${gain(before.spreadPoints, promised.spreadPoints)} points.`,
    );
  }
  if (notNow !== undefined) out(`  Not now: ${notNow}.`);
  if (advice !== undefined) out(`  \`sheaf cluster advice accept ${name} --id ${advice}\` carries it out.`);
  for (const { name: vm, fromName, by, until } of dismissed)
    out(`  dismissed: ${vm} stays on ${fromName} ${until === undefined ? "for good" : `for ${formatDuration(Math.max(0, until - now))}`} (${by})`);
}
