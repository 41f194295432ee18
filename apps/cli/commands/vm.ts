/** `sheaf vm …` */
import type { Client } from "@sheaf/client";
import { CpuPlacement, SheafError, type PlacementPolicyName } from "@sheaf/model";
import { InvalidArgumentError, Option, type Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { type Column, age, bytes, get, show, showOne, text, type Row } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import {
  bytesArgument,
  countArgument,
  durationArgument,
  inParallel,
  labelArgument,
  listArgument,
  machinesArgument,
  numberedNames,
} from "./arguments.ts";
import { openConsole } from "./console.ts";
import { cellText } from "./host-numa.ts";
import { addListing, hostNames, idColumn, listAll, nameColumn } from "./listing.ts";
import { addDeviceOptions, type DeviceOptions, deviceWishes } from "./host-devices.ts";
import { policyOption, showRanking } from "./placement.ts";
import { addPlacementRules, placementRules, type PlacementRuleOptions } from "./placement-rules.ts";
import { addMetrics } from "./metrics.ts";
import { addSizeAdvice } from "./size-advice.ts";

interface CreateOptions extends PlacementRuleOptions, DeviceOptions {
  image?: string;
  cpus: number;
  memory?: number;
  disk?: number;
  network?: string;
  pool?: string;
  count: number;
  gang?: boolean;
  label?: Record<string, string>;
  userData?: string;
  sshKey?: string[];
  on?: string;
  policy?: PlacementPolicyName;
  cpuPlacement?: CpuPlacement;
  hugepages?: boolean;
  wait?: boolean;
  stopped?: boolean;
  highlyAvailable?: boolean;
  restartAfter?: string[];
  password?: string;
  number?: number;
  dryRun?: boolean;
}

export function vmCommands(program: Command, cli: Cli, now: () => number): void {
  const vm = program.command("vm").description("machines");
  addMetrics(vm, cli, "vm", now);
  addSizeAdvice(vm, cli);
  addListing(vm, cli, "vm", async () => [
    nameColumn,
    idColumn,
    { title: "NUMBER", value: (row) => text(row, "number") },
    { title: "STATE", value: (row) => text(row, "state") },
    { title: "CPUS", value: (row) => text(row, "spec.cpu.count") },
    { title: "MEMORY", value: (row) => bytes(get(row, "spec.memory.bytes")) },
    addressColumn,
    hostColumn(await hostNames(cli)),
    { title: "AGE", value: (row) => age(row["createdAt"], now()) },
    { title: "REASON", value: reason, wide: true },
  ]);

  addDeviceOptions(addPlacementRules(vm.command("create <name>")))
    .description("create machines; with --count 20 they are named NAME-01 … NAME-20")
    .option("--image <image>", "image the first disk is cloned from")
    .option("--cpus <count>", "virtual CPUs", countArgument, 1)
    .option("--memory <size>", "memory; default: 1GiB", bytesArgument)
    .option("--disk <size>", "size of the first disk; default: the image's", bytesArgument)
    .option("--network <network>", "network of the first card")
    .option("--pool <pool>", "storage pool of the first disk")
    .option("--count <count>", "how many, up to 1000", machinesArgument, 1)
    .option("--gang", "with --count: all of them get hosts at once, or none does")
    .option("--number <number>", "number people say aloud; default: chosen", countArgument)
    .option("--label <key=value>", "repeatable", labelArgument)
    .option("--ssh-key <file>", "public key that may sign in; repeatable", listArgument)
    .option("--password <password>", "password of the guest's first user")
    .option("--user-data <file>", "cloud-init user data")
    .option("--on <host>", "this host and no other")
    .addOption(policyOption("how its host is chosen; default: as its cluster says"))
    .addOption(
      new Option("--cpu-placement <placement>", "where on the host its vCPUs run; default: in one NUMA cell where it fits").choices(
        CpuPlacement.options,
      ),
    )
    .option("--hugepages", "memory from the host's huge pages")
    .option("--highly-available", "start elsewhere when its host is lost; wants disks in a shared pool")
    .option("--restart-after <machine>", "when a host is lost or has booted, start after this machine; repeatable", listArgument)
    .option("--stopped", "do not start")
    .option("--dry-run", "show what would be, change nothing")
    .option("--wait", "until they run")
    .action(async (name: string, options: CreateOptions) => {
      const client = await cli.client();
      const body = await newMachine(cli, options);
      const names = numberedNames(name, options.count);
      // Another batch of that name is another gang.
      if (options.gang && options.count > 1)
        body.spec.placement = { ...body.spec.placement, gang: { name: `${name.slice(0, 50)}-${cli.newKey().slice(-8)}`, size: options.count } };
      const made: string[] = [];
      const results = await inParallel(names, 16, async (each) => {
        const result = await client.vm.create({
          query: { ...scoped(cli), dryRun: options.dryRun },
          body: { ...body, name: each, ...(options.number === undefined ? {} : { number: options.number }) },
          ...(options.dryRun ? {} : { idempotencyKey: cli.newKey() }),
        });
        made.push(each);
        return result;
      }).catch((error: unknown) => {
        // The others stay: whoever repeats the command must know which.
        if (made.length > 0 && !options.dryRun)
          cli.terminal.note(`${made.length} of ${names.length} machines were created: ${made.toSorted().join(", ")}`);
        throw error;
      });
      if (options.wait && !options.dryRun) {
        await waitForTasks(
          cli,
          results.flatMap((result) => result.task ?? []),
          "running",
        );
        const fresh = await inParallel(results, 16, (result) => client.vm.get({ params: { id: result.record.id } }));
        await showMachines(cli, fresh as Row[]); // records are rows
      } else
        await showMachines(
          cli,
          results.map((result) => result.record as Row),
        ); // records are rows
    });

  verb(vm, cli, "start", "start machines", {}, "running");
  vm.command("stop <names...>")
    .description("shut machines down: asks the guest, then cuts the power after the grace time")
    .option("--force", "cut the power at once")
    .option("--grace <time>", "such as 30s", durationArgument)
    .option("--wait", "until they are off")
    .action(async (names: string[], options: { force?: boolean; grace?: number; wait?: boolean }) => {
      const client = await cli.client();
      await act(cli, names, options.wait, "off", (id) =>
        options.force
          ? client.vm.forceOff({ params: { id }, query: scoped(cli) })
          : client.vm.stop({ params: { id }, query: scoped(cli), body: options.grace === undefined ? {} : { graceMs: options.grace } }),
      );
    });
  verb(vm, cli, "reboot", "restart the guests", {}, "restarted");
  verb(vm, cli, "reset", "press the reset button", {}, "reset");
  verb(vm, cli, "pause", "stop the guests' CPUs", {}, "paused");
  verb(vm, cli, "resume", "let paused machines go on", {}, "running");

  vm.command("resize <name>")
    .description("change CPUs, memory or a disk; live where QEMU can, else at the next start")
    .option("--cpus <count>", "virtual CPUs", countArgument)
    .option("--memory <size>", "memory", bytesArgument)
    .option("--disk <name=size>", "grow a disk: root=20GiB", labelArgument)
    .option("--wait", "until it has taken effect or waits for the next start")
    .action(async (id: string, options: { cpus?: number; memory?: number; disk?: Record<string, string>; wait?: boolean }) => {
      const client = await cli.client();
      const tasks: string[] = [];
      const spec = {
        // One socket with all of them, whatever shape it had for another number.
        ...(options.cpus === undefined ? {} : { cpu: { count: options.cpus, topology: null } }),
        ...(options.memory === undefined ? {} : { memory: { bytes: options.memory } }),
      };
      if (Object.keys(spec).length > 0)
        tasks.push(...((await client.vm.change({ params: { id }, query: scoped(cli), body: { spec } })).task ?? "").split(" ").filter(Boolean));
      if (options.disk) {
        const record = await client.vm.get({ params: { id }, query: scoped(cli) });
        for (const [diskName, size] of Object.entries(options.disk)) {
          const disk = record.spec.disks.find((each) => each.name === diskName);
          if (disk?.volume === undefined)
            throw new SheafError(
              "not-found",
              `${record.name} has no disk ${diskName}; it has ${record.spec.disks.map((each) => each.name).join(", ") || "none"}.`,
            );
          const changed = await client.volume.change({ params: { id: disk.volume }, body: { spec: { sizeBytes: bytesArgument(size) } } });
          if (changed.task !== undefined) tasks.push(changed.task);
        }
      }
      if (options.wait) await waitForTasks(cli, tasks, "resized");
    });

  vm.command("clone <name> <new-name>")
    .description("copy a stopped machine with its disks")
    .option("--wait", "until the copy is there")
    .action(async (id: string, name: string, options: { wait?: boolean }) => {
      const client = await cli.client();
      await act(cli, [id], options.wait, "cloned", () => client.vm.clone({ params: { id }, query: scoped(cli), body: { name } }));
    });

  vm.command("migrate <names...>")
    .description("move running machines to another host without stopping them")
    .option("--to <host>", "target; default: the best host")
    .option("--bandwidth <rate>", "at most, such as 100MB/s", bytesArgument)
    .option("--wait", "until they have moved")
    .action(async (names: string[], options: { to?: string; bandwidth?: number; wait?: boolean }) => {
      const client = await cli.client();
      const body = {
        ...(options.to === undefined ? {} : { host: options.to }),
        ...(options.bandwidth === undefined ? {} : { bandwidthBytesPerSecond: options.bandwidth }),
      };
      await act(cli, names, options.wait, "moved", (id) => client.vm.migrate({ params: { id }, query: scoped(cli), body }));
    });

  vm.command("delete [names...]")
    .alias("rm")
    .description("delete machines and the disks that go with them")
    .option("--all", "every machine of the project")
    .option("--label <selector>", "every machine with these labels")
    .option("--wait", "until they are gone")
    .action(async (names: string[], options: { all?: boolean; label?: string; wait?: boolean }) => {
      const client = await cli.client();
      const chosen =
        options.all || options.label !== undefined
          ? (await listAll(cli, "vm", { label: options.label })).filter((row) => row["deletedAt"] === undefined).map((row) => String(row["id"]))
          : names;
      if (chosen.length === 0 && !options.all && options.label === undefined)
        throw new InvalidArgumentError("Name the machines, or give --all or --label.");
      const tasks = await inParallel(chosen, 8, async (id) => (await client.vm.delete({ params: { id }, query: scoped(cli) })).task);
      cli.terminal.note(`${chosen.length} ${chosen.length === 1 ? "machine is" : "machines are"} being deleted`);
      if (options.wait)
        await waitForTasks(
          cli,
          tasks.flatMap((task) => task ?? []),
          "deleted",
        );
    });

  vm.command("targets <name>")
    .description("rank the hosts a machine could run on, with reasons")
    .action(async (id: string) => {
      const client = await cli.client();
      const { hosts } = await client.vm.targets({ params: { id }, query: scoped(cli) });
      showRanking(cli, hosts);
    });

  vm.command("explain <name>")
    .description("why a machine is where it is, and why not elsewhere: every host with its score or its reasons, as of now")
    .option("--host <host>", "only that one")
    .action(async (id: string, options: { host?: string }) => {
      const client = await cli.client();
      const found = await client.vm.explain({ params: { id }, query: scoped(cli) });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, found);
      cli.terminal.note(`policy ${found.policy}; ${found.reason}${found.devices === undefined ? "" : `; it has ${found.devices} for itself`}`);
      for (const cell of found.numa?.cells ?? []) cli.terminal.note(cellText(cell));
      if (found.numaRefusal !== undefined) cli.terminal.note(`it does not have what it asks for: ${found.numaRefusal}`);
      const wanted = ({ host, name }: { host: string; name: string }): boolean => options.host === undefined || [host, name].includes(options.host);
      showRanking(cli, found.hosts.filter(wanted), found.host);
    });

  vm.command("console <name>")
    .description("the serial console; Ctrl-] leaves it")
    .action((id: string) => openConsole(cli, id));

  vm.command("adopt <host> <uuid> <name>")
    .description("take over a domain that Sheaf did not make, without stopping it (`sheaf host show` lists them)")
    .option("--accept-losses", "take it although it has parts that Sheaf cannot carry; without this they are named and nothing is changed")
    .option("--wait", "until it is done")
    .action(async (host: string, uuid: string, name: string, options: { acceptLosses?: boolean; wait?: boolean }) => {
      const client = await cli.client();
      const { task } = await client.vm.adopt({
        params: { id: host, uuid },
        query: scoped(cli),
        body: { name, acceptLosses: options.acceptLosses === true },
      });
      if (options.wait) await waitForTasks(cli, [task], "adopted");
      else cli.terminal.note(`${name} is being adopted, task ${task}`);
    });
}

/** Why it is not as it is wanted. */
function reason(row: Row): string | undefined {
  const pending = text(row, "status.placement.pending.reason") ?? text(row, "status.yield.reason") ?? text(row, "status.agent.problem");
  if (pending !== undefined) return pending;
  if (text(row, "state") === "unreachable" && text(row, "status.failover.state") === "waiting") return text(row, "status.failover.reason");
  return get(row, "status.agent.awaitsTurn") === true ? text(row, "status.order.reason") : undefined;
}

type NewMachine = Omit<NonNullable<NonNullable<Parameters<Client["vm"]["create"]>[0]>["body"]>, "name">;

async function newMachine(cli: Cli, options: CreateOptions): Promise<NewMachine> {
  const keys = await Promise.all((options.sshKey ?? []).map(async (file) => (await cli.readFile(file)).trim()));
  return {
    ...(options.label === undefined ? {} : { labels: options.label }),
    spec: {
      power: options.stopped ? "stopped" : "running",
      cpu: { count: options.cpus, ...(options.cpuPlacement === undefined ? {} : { placement: options.cpuPlacement }) },
      memory: { ...(options.memory === undefined ? {} : { bytes: options.memory }), ...(options.hugepages ? { hugepages: true } : {}) },
      disks:
        options.image === undefined && options.disk === undefined
          ? []
          : [
              {
                name: "root",
                ...(options.image === undefined ? {} : { image: options.image }),
                ...(options.disk === undefined ? {} : { sizeBytes: options.disk }),
                ...(options.pool === undefined ? {} : { pool: options.pool }),
              },
            ],
      nics: [{ name: "net0", network: options.network ?? "default" }],
      ...deviceWishes(options),
      cloudInit: {
        sshAuthorizedKeys: keys,
        ...(options.password === undefined ? {} : { password: options.password }),
        ...(options.userData === undefined ? {} : { userData: await cli.readFile(options.userData) }),
      },
      placement: {
        ...(options.on === undefined ? {} : { host: options.on }),
        ...(options.policy === undefined ? {} : { policy: options.policy }),
        ...placementRules(options),
      },
      ...(options.highlyAvailable ? { highlyAvailable: true } : {}),
      ...(options.restartAfter === undefined ? {} : { restart: { after: { machines: options.restartAfter } } }),
    },
  };
}

const addressColumn: Column<Row> = {
  title: "ADDRESS",
  value: (row) => (get(row, "spec.nics") as { addresses?: string[] }[] | undefined)?.flatMap((nic) => nic.addresses ?? []).join(","),
};

const hostColumn = (names: ReadonlyMap<string, string>): Column<Row> => ({
  title: "HOST",
  value: (row) => names.get(text(row, "placement.host") ?? "") ?? text(row, "placement.host"),
});

async function showMachines(cli: Cli, rows: readonly Row[]): Promise<void> {
  show(cli, rows, [nameColumn, idColumn, { title: "STATE", value: (row) => text(row, "state") }, addressColumn, hostColumn(await hostNames(cli))]);
}

type Verb = "start" | "reboot" | "reset" | "pause" | "resume";
function verb(vm: Command, cli: Cli, name: Verb, description: string, body: Record<string, never>, label: string): void {
  vm.command(`${name} <names...>`)
    .description(description)
    .option("--wait", "until it has taken effect")
    .action(async (names: string[], options: { wait?: boolean }) => {
      const client = await cli.client();
      await act(cli, names, options.wait, label, (id) => client.vm[name]({ params: { id }, query: scoped(cli), body }));
    });
}

async function act(
  cli: Cli,
  names: readonly string[],
  wait: boolean | undefined,
  label: string,
  call: (id: string) => Promise<{ task?: string | undefined; record: { name: string } }>,
): Promise<void> {
  const results = await inParallel(names, 8, call);
  if (!wait) for (const { record, task } of results) cli.terminal.note(`${record.name}: accepted${task === undefined ? "" : `, task ${task}`}`);
  else
    await waitForTasks(
      cli,
      results.flatMap((result) => result.task ?? []),
      label,
    );
}
