/** `sheaf plan add-hosts` and `sheaf plan remove-host`: what more hosts, or fewer, would come to. */
import { formatBytes } from "@sheaf/base";
import type { Client } from "@sheaf/client";
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { show, showOne } from "../output.ts";
import { bytesArgument, countArgument, machinesArgument } from "./arguments.ts";

type Addition = Awaited<ReturnType<Client["plan"]["addHosts"]>>;
type Removal = Awaited<ReturnType<Client["plan"]["removeHosts"]>>;
type Outlook = Addition["before"];

interface AddOptions {
  readonly like?: string;
  readonly cluster?: string;
  readonly cpus?: number;
  readonly memory?: number;
  readonly machineCpus?: number;
  readonly machineMemory?: number;
}

export function addHostPlans(plan: Command, cli: Cli): void {
  plan
    .command("add-hosts [count]")
    .description("which waiting machines more hosts would give a place, how their cluster would stand, and how many more machines would fit")
    .option("--like <host>", "a host that they are like; default: the cluster's first")
    .option("--cluster <cluster>", "in that cluster")
    .option("--cpus <count>", "instead of that host's", countArgument)
    .option("--memory <size>", "instead of that host's", bytesArgument)
    .option("--machine-cpus <count>", "count how many more machines of that size would fit", countArgument)
    .option("--machine-memory <size>", "the same", bytesArgument)
    .action(async (count: string | undefined, options: AddOptions) => {
      const { like, cluster, cpus, memory, machineCpus, machineMemory } = options;
      const found = await (
        await cli.client()
      ).plan.addHosts({
        query: {
          ...{ count: machinesArgument(count ?? "1"), like, cluster, cpus },
          ...{ memoryBytes: memory, machineCpus, machineMemoryBytes: machineMemory },
        },
      });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      showAddition(cli, found);
    });

  plan
    .command("remove-host <names...>")
    .description("where the machines of these hosts would go, which would find no place, and how the rest of the cluster would stand")
    .action(async (names: string[]) => {
      const found = await (await cli.client()).plan.removeHosts({ query: { hosts: names.join(",") } });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      showRemoval(cli, found);
    });
}

function showAddition(cli: Cli, { cluster, host, before, after, placed, placedCount, waiting, waitingCount, room }: Addition): void {
  const out = (line: string): void => cli.terminal.out(line);
  out(`Hosts like ${host.like} with ${host.cpus} CPUs and ${formatBytes(host.memoryBytes)}, in cluster ${cluster}.`);
  standing(out, before, after);
  if (room) out(`More machines of that size: ${room.before} now, ${room.after}${room.more ? " or more" : ""} then.`);
  out(`${placedCount} waiting machines would get a place, ${waitingCount} would wait on.`);
  if (placed.length > 0)
    show(cli, placed, [
      { title: "MACHINE", value: (row) => row.name },
      { title: "HOST", value: (row) => row.host },
    ]);
  if (waiting.length > 0)
    show(cli, waiting, [
      { title: "WAITS", value: (row) => row.name },
      { title: "WHY", value: (row) => row.why },
    ]);
}

function showRemoval(cli: Cli, { clusters, moves, moveCount, stuck, stuckCount, moving }: Removal): void {
  const out = (line: string): void => cli.terminal.out(line);
  for (const { cluster, before, after } of clusters) {
    out(`Cluster ${cluster}:`);
    standing(out, before, after);
  }
  out(`${moveCount} machines would move, ${stuckCount} would find no place${moving > 0 ? `, ${moving} are on their way already` : ""}.`);
  if (moves.length > 0)
    show(cli, moves, [
      { title: "MACHINE", value: (row) => row.name },
      { title: "FROM", value: (row) => row.from },
      { title: "TO", value: (row) => row.to },
    ]);
  if (stuck.length > 0)
    show(cli, stuck, [
      { title: "STAYS", value: (row) => row.name },
      { title: "ON", value: (row) => row.from },
      { title: "WHY", value: (row) => row.why },
    ]);
}

function standing(out: (line: string) => void, before: Outlook, after: Outlook): void {
  const line = (title: string, figure: (outlook: Outlook) => string | undefined): void => {
    const [then, now] = [figure(after), figure(before)];
    if (then !== undefined || now !== undefined) out(`  ${title}: ${now ?? "none"} → ${then ?? "none"}`);
  };
  line("hosts that take machines", ({ hosts }) => String(hosts));
  line("CPUs promised", ({ cpuPercent }) => `${cpuPercent} %`);
  line("memory promised", ({ memoryPercent }) => `${memoryPercent} %`);
  line("fullest host", ({ fullestPercent }) => `${fullestPercent} %`);
  line("spread", ({ spreadPoints }) => `${spreadPoints} points`);
  line(
    "memory left for machines when it has lost what it is to survive",
    ({ failOver }) =>
      failOver && (failOver.spareMemoryBytes < 0 ? `${formatBytes(-failOver.spareMemoryBytes)} too little` : formatBytes(failOver.spareMemoryBytes)),
  );
}
