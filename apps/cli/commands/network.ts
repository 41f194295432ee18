/** `sheaf network …` */
import { InvalidArgumentError, type Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { get, showOne, text, type Row } from "../output.ts";
import { countArgument, listArgument } from "./arguments.ts";
import { addDelete, addListing, idColumn, nameColumn } from "./listing.ts";

interface Options {
  bridge: string;
  managed?: boolean;
  vlan?: number;
  uplink?: string;
  mtu?: number;
  subnet?: string;
  gateway?: string;
  dns?: string[];
  range?: string;
  public?: boolean;
}

export function networkCommands(program: Command, cli: Cli): void {
  const network = program.command("network").description("networks of the machines");
  addListing(network, cli, "network", [
    nameColumn,
    idColumn,
    { title: "BRIDGE", value: (row) => text(row, "spec.bridge") },
    { title: "VLAN", value: (row) => text(row, "spec.vlan") },
    {
      title: "SUBNETS",
      value: (row) => (get(row, "spec.subnets") as { cidr: string }[] | undefined)?.map((subnet) => subnet.cidr).join(",") || undefined,
    },
  ]);
  network
    .command("create <name>")
    .description("create a network on a bridge")
    .requiredOption("--bridge <name>", "bridge on every host")
    .option("--managed", "Sheaf makes the bridge")
    .option("--vlan <tag>", "802.1Q tag on the uplink", countArgument)
    .option("--uplink <interface>", "interface that the managed bridge takes")
    .option("--mtu <bytes>", "largest packet", countArgument)
    .option("--subnet <cidr>", "such as 10.0.5.0/24")
    .option("--gateway <address>", "told to the guests")
    .option("--dns <address>", "name server; repeatable", listArgument)
    .option("--range <from-to>", "addresses Sheaf hands out: 10.0.5.10-10.0.5.250")
    .option("--public", "usable by every project")
    .action(async (name: string, options: Options) => {
      const [from, to, ...rest] = options.range?.split("-") ?? [];
      if (options.range !== undefined && (from === undefined || to === undefined || rest.length > 0))
        throw new InvalidArgumentError("Give a range as FIRST-LAST, such as 10.0.5.10-10.0.5.250.");
      if (options.subnet === undefined && (options.range ?? options.gateway ?? options.dns) !== undefined)
        throw new InvalidArgumentError("--range, --gateway and --dns belong to a subnet: give --subnet too.");
      const subnet =
        options.subnet === undefined
          ? []
          : [
              {
                cidr: options.subnet,
                nameServers: options.dns ?? [],
                ...(options.gateway === undefined ? {} : { gateway: options.gateway }),
                ...(from === undefined || to === undefined ? {} : { range: { from, to } }),
              },
            ];
      const { bridge, managed = false, vlan, uplink, mtu } = options;
      const spec = {
        bridge,
        managed,
        subnets: subnet,
        public: options.public ?? false,
        ...(vlan === undefined ? {} : { vlan }),
        ...(uplink === undefined ? {} : { uplink }),
        ...(mtu === undefined ? {} : { mtu }),
      };
      showOne(
        cli,
        (await (await cli.client()).network.create({ query: scoped(cli), idempotencyKey: cli.newKey(), body: { name, spec } })).record as Row,
      ); // a record is a row
    });
  addDelete(network, cli, "network");
}
