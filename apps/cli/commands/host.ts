/** `sheaf host …` and `sheaf cluster …` */
import type { PlacementPolicyName } from "@sheaf/model";
import type { Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { age, bytes, get, showOne, text, type Row } from "../output.ts";
import { follow, waitForTasks } from "../wait.ts";
import { addAdvice } from "./cluster-advice.ts";
import { addBalance } from "./cluster-balance.ts";
import { devicesBelow, hostDevicesCommand } from "./host-devices.ts";
import { addPower } from "./host-power.ts";
import { countArgument, durationArgument } from "./arguments.ts";
import { addUpgrade, agentColumn } from "./agent-upgrades.ts";
import { addDelete, addListing, idColumn, nameColumn } from "./listing.ts";
import { policyOption } from "./placement.ts";
import { addHostNuma } from "./host-numa.ts";
import { addMetrics } from "./metrics.ts";

export function hostCommands(program: Command, cli: Cli, now: () => number): void {
  const host = program.command("host").description("servers that run machines");
  addListing(
    host,
    cli,
    "host",
    [
      nameColumn,
      idColumn,
      { title: "STATE", value: (row) => text(row, "status.power.state") ?? text(row, "status.liveness.state") ?? "joining" },
      { title: "SINCE", value: (row) => age(get(row, "status.power.since") ?? get(row, "status.liveness.since"), now()) },
      { title: "TAKES", value: (row) => text(row, "spec.schedulable") },
      { title: "CPUS", value: (row) => text(row, "status.agent.cpu.count") },
      { title: "MEMORY", value: (row) => bytes(get(row, "status.agent.memoryBytes")) },
      { title: "ADDRESS", value: (row) => text(row, "status.agent.address") },
      { title: "POWER", value: powerWords, wide: true },
      {
        title: "ACCELERATED",
        value: (row) =>
          get(row, "status.agent.hypervisor.accelerated") === undefined
            ? undefined
            : get(row, "status.agent.hypervisor.accelerated")
              ? "yes"
              : "no: emulated",
      },
      { title: "AGENT", value: agentColumn, wide: true },
      { title: "PROBLEMS", value: (row) => (get(row, "status.agent.problems") as string[] | undefined)?.join("; ") || undefined, wide: true },
    ],
    (record) => devicesBelow(cli, record),
  );
  hostDevicesCommand(host, cli);

  addHostNuma(host, cli);
  addMetrics(host, cli, "host", now);
  host
    .command("add")
    .description("print the line that joins a new host")
    .option("--cluster <cluster>", "cluster it joins", "default")
    .option("--name <name>", "name it must have; default: its own")
    .option("--valid-for <time>", "how long the line works", durationArgument, 3_600_000)
    .option("--wait", "until the new host is ready")
    .action(async (options: { cluster: string; name?: string; validFor: number; wait?: boolean }) => {
      const client = await cli.client();
      const before = await client.host.list({ query: { limit: 1000, fields: "id" } });
      const late = setTimeout(() => cli.terminal.note("The server makes the agent's archive, as it was not asked for one before …"), 1000);
      const invitation = await client.host
        .invite({ body: { cluster: options.cluster, validForMs: options.validFor, ...(options.name === undefined ? {} : { name: options.name }) } })
        .finally(() => clearTimeout(late));
      if (cli.options().output === "table" && invitation.command !== undefined) {
        cli.terminal.note("Run this on the new host, as root:");
        cli.terminal.out(invitation.command);
        if (/https:\/\/(localhost|127\.|\[::1\])/.test(invitation.command))
          cli.terminal.note("The server knows itself by an address that only its own machine reaches: start it with --name and its real one first.");
      } else showOne(cli, invitation);
      if (!options.wait) return;
      const known = new Set(before.items.map((item) => item.id));
      await follow(cli, "kind=host", before.revision + 1, (change) => {
        const ready = !known.has(change.id) && change.record !== undefined && text(change.record, "status.liveness.state") === "ready";
        if (ready) cli.terminal.note(`${text(change.record, "name")} has joined and is ready.`);
        return ready;
      });
    });

  host
    .command("cordon <names...>")
    .description("take no new machines")
    .action(async (names: string[]) => {
      const client = await cli.client();
      for (const id of names) {
        await client.host.cordon({ params: { id }, body: {} });
        cli.terminal.note(`${id}: cordoned`);
      }
    });
  host
    .command("activate <names...>")
    .description("take machines again; what left for maintenance comes back")
    .option("--no-return", "leave machines where they are")
    .option("--wait", "until they are back")
    .action(async (names: string[], options: { return: boolean; wait?: boolean }) => {
      const client = await cli.client();
      const tasks: string[] = [];
      for (const id of names) {
        const { task } = await client.host.activate({ params: { id }, body: options.return ? {} : { noReturn: true } });
        if (task !== undefined) tasks.push(task);
        cli.terminal.note(`${id}: open${task === undefined || !options.return ? "" : `; its machines come back, task ${task}`}`);
      }
      if (options.wait) await waitForTasks(cli, tasks, "activated");
      if (options.wait) for (const id of tasks) await tellEnd(cli, id);
    });
  host
    .command("maintain <name>")
    .description("empty a host for maintenance, so that its machines come back when it is activated")
    .option("--check", "only say what would be")
    .option("--force", "although machines cannot move, or the cluster would be too full")
    .option("--parallel <count>", "migrations at once", countArgument)
    .option("--wait", "until it is empty")
    .action(async (id: string, options: { check?: boolean; force?: boolean; parallel?: number; wait?: boolean }) => {
      const client = await cli.client();
      if (options.check) return showCheck(cli, await client.host.maintenanceCheck({ params: { id } }));
      const { task } = await client.host.maintain({
        params: { id },
        body: { force: options.force === true, ...(options.parallel === undefined ? {} : { maximumParallelMigrations: options.parallel }) },
      });
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "emptied");
      else cli.terminal.note(`${id} is being emptied${task === undefined ? "" : `, task ${task}`}`);
    });
  host
    .command("drain <name>")
    .description("move every machine away and take no new ones")
    .option("--parallel <count>", "migrations at once", countArgument)
    .option("--wait", "until it is empty")
    .action(async (id: string, options: { parallel?: number; wait?: boolean }) => {
      const client = await cli.client();
      const { task } = await client.host.drain({
        params: { id },
        query: scoped(cli),
        body: options.parallel === undefined ? {} : { maximumParallelMigrations: options.parallel },
      });
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "drained");
      else cli.terminal.note(`${id} is being drained${task === undefined ? "" : `, task ${task}`}`);
    });
  for (const [name, verb, description] of [
    ["fence", "fence", "have a lost host's power cut, so that its highly available machines start elsewhere"],
    ["confirm-off", "confirmOff", "say that a lost host is off for certain: a wrong word here lets machines run twice"],
  ] as const) {
    host
      .command(`${name} <name>`)
      .description(description)
      .option("--wait", "until it is known to be off")
      .action(async (id: string, options: { wait?: boolean }) => {
        const client = await cli.client();
        const { task } = await client.host[verb]({ params: { id }, query: scoped(cli), body: {} });
        if (options.wait && task !== undefined) await waitForTasks(cli, [task], "off");
        else cli.terminal.note(`${id}: asked for${task === undefined ? "" : `, task ${task}`}`);
      });
  }
  addPower(host, cli);
  addUpgrade(host, cli, "host");
  host
    .command("done <name>")
    .description("say that the work on an emptied host is done, so that its cluster's maintenance goes on")
    .action(async (id: string) => {
      await (await cli.client()).host.done({ params: { id }, body: {} });
      cli.terminal.note(`${id}: its machines come back, then the next host follows`);
    });
  host
    .command("remove <name>")
    .description("forget a host that holds no machines, and revoke its certificate")
    .action(async (id: string) => {
      await (await cli.client()).host.delete({ params: { id } });
      cli.terminal.note(`${id} is removed`);
    });

  const cluster = program.command("cluster").description("hosts with one CPU baseline, storage and networks in common");
  addListing(cluster, cli, "cluster", [
    nameColumn,
    idColumn,
    { title: "CPU BASELINE", value: (row) => text(row, "spec.cpuBaseline") },
    { title: "CPU OVERCOMMIT", value: (row) => text(row, "spec.cpuOvercommit") },
    { title: "MEMORY OVERCOMMIT", value: (row) => text(row, "spec.memoryOvercommit") },
    { title: "PLACEMENT", value: (row) => placementWords(get(row, "spec.placementPolicy")), wide: true },
  ]);
  cluster
    .command("create <name>")
    .description("create a cluster")
    .addOption(policyOption("how hosts are chosen in it; several by weight: with `sheaf apply`"))
    .action(async (name: string, { policy }: { policy?: PlacementPolicyName }) => {
      const spec = policy === undefined ? {} : { placementPolicy: policy };
      const { record } = await (await cli.client()).cluster.create({ body: { name, spec }, idempotencyKey: cli.newKey() });
      showOne(cli, record as Row); // a record is a row
    });
  cluster
    .command("maintain <name>")
    .description("put its hosts into maintenance, one after the other; at each it waits for `sheaf host done`, or a restart")
    .option("--hosts <hosts>", "only these, in this order: h1,h2")
    .option("--wait", "until all are through")
    .action(async (id: string, options: { hosts?: string; wait?: boolean }) => {
      const hosts = options.hosts?.split(",").map((name) => name.trim());
      const { task } = await (await cli.client()).cluster.maintain({ params: { id }, body: hosts === undefined ? {} : { hosts } });
      if (options.wait) await waitForTasks(cli, [task], "maintenance");
      else cli.terminal.note(`${id}: begun, task ${task}; \`sheaf task cancel ${task}\` ends it`);
    });
  addUpgrade(cluster, cli, "cluster");
  addBalance(cluster, cli, now);
  addAdvice(cluster, cli, now);
  for (const [name, verb, description] of [
    ["pause", "pauseMaintenance", "let maintenance begin with no further host"],
    ["resume", "resumeMaintenance", "let maintenance go on with the next host"],
  ] as const) {
    cluster
      .command(`${name} <name>`)
      .description(description)
      .action(async (id: string) => {
        await (await cli.client()).cluster[verb]({ params: { id }, body: {} });
        cli.terminal.note(`${id}: ${name}d`);
      });
  }
  addDelete(cluster, cli, "cluster");
}

/** Who put it to sleep, or woke it, and why. */
function powerWords(row: Row): string | undefined {
  const reason = text(row, "status.power.reason");
  return reason === undefined ? undefined : `${text(row, "status.power.by") ?? ""}: ${reason}`;
}

interface Check {
  readonly machines: number;
  readonly cannotMove: readonly { readonly name: string; readonly why: string }[];
  readonly memoryPercent: number;
  readonly cpuPercent: number;
  readonly warnings: readonly string[];
}
function showCheck(cli: Cli, check: Check): void {
  if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, { ...check });
  const { machines, cannotMove, memoryPercent, cpuPercent, warnings } = check;
  cli.terminal.out(`${machines} machines would move; the other hosts would have promised ${memoryPercent} % of memory, ${cpuPercent} % of CPU.`);
  for (const { name, why } of cannotMove) cli.terminal.out(`${name} cannot move: ${why}`);
  cli.terminal.out(warnings.length === 0 ? "Nothing speaks against it." : `Against it: ${warnings.join("; ")}.`);
}

/** The last word of a task that has ended: what could not be done all the same. */
async function tellEnd(cli: Cli, id: string): Promise<void> {
  const task = await (await cli.client()).task.get({ params: { id } });
  const message = text(task, "status.controller.message");
  if (message !== undefined) cli.terminal.note(message);
}

/** `pack`, or `pack 0.7, energy 0.3`. */
function placementWords(policy: unknown): string | undefined {
  if (typeof policy !== "object" || policy === null) return policy as string | undefined; // it is a name then
  return Object.entries(policy)
    .map(([name, weight]) => `${name} ${weight}`)
    .join(", ");
}
