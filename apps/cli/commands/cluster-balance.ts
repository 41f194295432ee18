/** `sheaf cluster balance`: how evenly hosts are used, what would help, and carrying it out. */
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { showOne, text } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { durationArgument } from "./arguments.ts";
import { showHistory } from "./balance-history.ts";

interface Options {
  readonly apply?: boolean;
  readonly wait?: boolean;
  readonly mode?: string;
  readonly goal?: string;
  readonly history?: boolean;
  readonly last: number;
}

export function addBalance(cluster: Command, cli: Cli, now: () => number): void {
  cluster
    .command("balance <name>")
    .description("show how evenly its hosts are used in the mean of the last minutes, and which moves would help")
    .option("--apply", "carry the moves out")
    .option("--wait", "with --apply: until all have ended")
    .option("--mode <mode>", "from now on: off, advise, or automatic")
    .option("--goal <goal>", "from now on: hot-spots, even, or consolidate")
    .option("--history", "instead: how it went over time, and what was moved, with what was promised and what it came to")
    .option("--last <time>", "with --history: how far back", durationArgument, 86_400_000)
    .action(async (id: string, { apply, wait, mode, goal, history, last }: Options) => {
      if (history) return showHistory(cli, id, { from: Math.max(0, now() - last), to: now() });
      const client = await cli.client();
      const params = { id };
      if (mode !== undefined || goal !== undefined) {
        const balancing = { ...(mode === undefined ? {} : { mode }), ...(goal === undefined ? {} : { goal }) };
        await client.cluster.change({ params, body: { spec: { balancing } } });
        if (!apply)
          return cli.terminal.note(
            `${id}: ${Object.entries(balancing)
              .map(([name, value]) => `${name} ${value}`)
              .join(", ")}`,
          );
      }
      if (!apply) return showBalance(cli, id, await client.cluster.balance({ params }));
      await carryOut(cli, id, undefined, wait);
    });
}

/** @param advice what was read; absent: what is advised now */
export async function carryOut(cli: Cli, id: string, advice: string | undefined, wait: boolean | undefined): Promise<void> {
  const client = await cli.client();
  const { task } = await client.cluster.carryOutBalance({ params: { id }, body: advice === undefined ? {} : { advice } });
  if (!wait) return cli.terminal.note(`${id}: begun, task ${task}; \`sheaf task cancel ${task}\` ends it`);
  await waitForTasks(cli, [task], "balancing");
  const ended = await client.task.get({ params: { id: task } });
  cli.terminal.note(text(ended, "status.controller.message") ?? "done");
}

type Balance = Awaited<ReturnType<Awaited<ReturnType<Cli["client"]>>["cluster"]["balance"]>>;

function showBalance(cli: Cli, name: string, balance: Balance): void {
  if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, { ...balance });
  const { score, promised, hosts, unknown, moves, mode, goal, task, advice, notNow, frees, cause, expected } = balance;
  const out = (line: string): void => cli.terminal.out(line);
  out(`Mode ${mode}, goal ${goal}. Hottest host ${round(score.hottestPercent)} %, spread ${round(score.spreadPoints)} points.`);
  if (expected)
    out(`Expected in the hours to come: hottest host ${round(expected.hottestPercent)} %, spread ${round(expected.spreadPoints)} points.`);
  for (const host of hosts) out(`  ${host.name}: CPU ${round(host.cpuPercent)} %, memory ${round(host.memoryPercent)} %`);
  if (unknown.length > 0) out(`  not known yet: ${unknown.join(", ")}`);
  if (task !== undefined) out(`Moves are under way: \`sheaf task watch ${task}\`.`);
  else if (moves.length === 0) out("Nothing needs to move.");
  else {
    if (cause)
      out(
        cause.kind === "rules"
          ? `${moves.length} moves would keep the rules again:`
          : `${moves.length} moves would make room for ${cause.name}, which waits:`,
      );
    else if (frees.length > 0)
      out(
        `${moves.length} moves would free ${frees.length} of them (${frees.join(", ")}), the hottest of the others at ${round(promised.hottestPercent)} %:`,
      );
    else
      out(
        `${moves.length} moves would bring the hottest host to ${round(promised.hottestPercent)} %, the spread to ${round(promised.spreadPoints)} points:`,
      );
    for (const move of moves) out(`  ${move.name}: ${move.fromName} → ${move.toName} (${move.reason})`);
    if (notNow !== undefined) out(`Not now: ${notNow}.`);
    out(
      `\`sheaf cluster advice accept ${name} --id ${advice}\` carries out just these, \`sheaf cluster balance ${name} --apply\` what is advised then.`,
    );
  }
}

export const round = (figure: number): string => figure.toFixed(figure < 10 ? 1 : 0);
