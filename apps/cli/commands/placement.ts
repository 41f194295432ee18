/** `sheaf host rank`, `sheaf plan …`, and the table that placement is explained with. */
import { PlacementPolicyName } from "@sheaf/model";
import { Option, type Command } from "commander";
import type { Cli } from "../cli.ts";
import { show, showOne } from "../output.ts";
import { bytesArgument, countArgument, machinesArgument } from "./arguments.ts";
import { addHostPlans } from "./host-plans.ts";

/** A type, so that it is a row. */
type Ranked = {
  readonly host: string;
  readonly name: string;
  readonly fits: boolean;
  readonly reasons: readonly string[];
  readonly score?: number | undefined;
  readonly parts?: Readonly<Record<string, number>> | undefined;
};

/** @param present id of the host that the machine has */
export function showRanking(cli: Cli, hosts: readonly Ranked[], present?: string): void {
  show(
    cli,
    [...hosts],
    [
      { title: "HOST", value: (row) => (row.host === present ? `${row.name} (now)` : row.name) },
      { title: "FITS", value: (row) => (row.fits ? "yes" : "no") },
      { title: "SCORE", value: (row) => row.score?.toFixed(4) },
      { title: "PARTS", value: partsText },
      { title: "REASONS", value: (row) => row.reasons.join("; ") },
    ],
  );
}

const partsText = ({ parts }: Ranked): string | undefined =>
  parts &&
  Object.entries(parts)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(", ");

export const policyOption = (description: string): Option => new Option("--policy <policy>", description).choices(PlacementPolicyName.options);

interface AskedOptions {
  readonly cpus: number;
  readonly memory: number;
  readonly cluster?: string;
  readonly policy?: PlacementPolicyName;
}

const asked = (command: Command): Command =>
  command
    .option("--cpus <count>", "virtual CPUs", countArgument, 1)
    .requiredOption("--memory <size>", "memory", bytesArgument)
    .option("--cluster <cluster>", "in that cluster alone")
    .addOption(policyOption("by that policy; default: the cluster's"));

const query = ({ cpus, memory, cluster, policy }: AskedOptions) => ({ cpus, memoryBytes: memory, cluster, policy });

export function placementCommands(program: Command, cli: Cli): void {
  const host = program.commands.find((command) => command.name() === "host") as Command; // added before this
  asked(host.command("rank").description("rank all hosts for a machine of that size, with scores and reasons")).action(
    async (options: AskedOptions) => {
      const found = await (await cli.client()).host.rank({ query: query(options) });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      cli.terminal.note(`policy ${found.policy}`);
      showRanking(cli, found.hosts);
    },
  );

  const plan = program.command("plan").description("what would be, without doing it");
  asked(plan.command("create").description("how many machines of that size would fit, and where"))
    .option("--count <count>", "how many, up to 1000", machinesArgument, 1)
    .action(async (options: AskedOptions & { count: number }) => {
      const found = await (await cli.client()).plan.create({ query: { ...query(options), count: options.count } });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      show(cli, found.hosts, [
        { title: "HOST", value: (row) => row.name },
        { title: "MACHINES", value: (row) => String(row.machines) },
      ]);
      cli.terminal.note(`${found.placed} of ${options.count} fit${found.refusal === undefined ? "" : `; ${found.refusal}`}`);
    });
  addHostPlans(plan, cli);
}
