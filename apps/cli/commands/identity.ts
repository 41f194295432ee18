/** `sheaf project …`, `sheaf user …`, `sheaf role …`, `sheaf token …` */
import { InvalidArgumentError, type Command } from "commander";
import { privileges } from "@sheaf/model";
import type { Cli } from "../cli.ts";
import { bytes, get, showOne, text, type Row } from "../output.ts";
import { bytesArgument, countArgument, durationArgument, listArgument } from "./arguments.ts";
import { addDelete, addListing, idColumn, nameColumn } from "./listing.ts";

interface QuotaOptions {
  description?: string;
  vms?: number;
  vcpus?: number;
  memory?: number;
  disk?: number;
  images?: number;
}

function grantArgument(value: string, before: readonly { role: string; project: string }[] = []): { role: string; project: string }[] {
  const [role, project = "*", ...more] = value.split("@");
  if (role === undefined || role === "" || more.length > 0) throw new InvalidArgumentError("Give a grant as role@project, or role for everywhere.");
  return [...before, { role, project }];
}

type PrivilegeName = (typeof privileges)[number];
function privilegeArgument(value: string, before: readonly PrivilegeName[] = []): PrivilegeName[] {
  const known = privileges.find((privilege) => privilege === value);
  if (known === undefined) throw new InvalidArgumentError(`There is no privilege ${value}. Known: ${privileges.join(", ")}.`);
  return [...before, known];
}

export function identityCommands(program: Command, cli: Cli): void {
  const project = program.command("project").description("tenants and their quotas");
  addListing(project, cli, "project", [
    nameColumn,
    idColumn,
    { title: "MACHINES", value: (row) => text(row, "spec.quota.vms") ?? "no limit" },
    { title: "CPUS", value: (row) => text(row, "spec.quota.vcpus") ?? "no limit" },
    { title: "MEMORY", value: (row) => bytes(get(row, "spec.quota.memoryBytes")) ?? "no limit" },
  ]);
  for (const name of ["create", "set"] as const) {
    project
      .command(`${name} <name>`)
      .description(name === "create" ? "create a project" : "change a project's quota")
      .option("--description <text>", "what it is for")
      .option("--vms <count>", "machines at most", countArgument)
      .option("--vcpus <count>", "virtual CPUs at most", countArgument)
      .option("--memory <size>", "memory at most", bytesArgument)
      .option("--disk <size>", "disk space at most", bytesArgument)
      .option("--images <count>", "images at most", countArgument)
      .action(async (id: string, options: QuotaOptions) => {
        const client = await cli.client();
        const { description, vms, vcpus, memory, disk, images } = options;
        const quota = {
          ...(vms === undefined ? {} : { vms }),
          ...(vcpus === undefined ? {} : { vcpus }),
          ...(memory === undefined ? {} : { memoryBytes: memory }),
          ...(disk === undefined ? {} : { diskBytes: disk }),
          ...(images === undefined ? {} : { images }),
        };
        const spec = { quota, ...(description === undefined ? {} : { description }) };
        const { record } =
          name === "create"
            ? await client.project.create({ body: { name: id, spec }, idempotencyKey: cli.newKey() })
            : await client.project.change({ params: { id }, body: { spec } });
        showOne(cli, record as Row); // a record is a row
      });
  }
  project
    .command("usage <name>")
    .description("what it uses of its quota")
    .action(async (id: string) => showOne(cli, { name: id, ...(await (await cli.client()).project.usage({ params: { id } })) }));
  addDelete(project, cli, "project");

  const user = program.command("user").description("people who may sign in");
  addListing(user, cli, "user", [
    nameColumn,
    idColumn,
    {
      title: "GRANTS",
      value: (row) =>
        (get(row, "spec.grants") as { role: string; project: string }[] | undefined)?.map((grant) => `${grant.role}@${grant.project}`).join(" ") ||
        undefined,
    },
    { title: "DISABLED", value: (row) => (get(row, "spec.disabled") ? "yes" : "no") },
  ]);
  user
    .command("create <name>")
    .description("create a user")
    .option("--grant <role@project>", "what the user may do; repeatable", grantArgument)
    .option("--password-file <file>", "first line is the password; else it is asked for")
    .action(async (name: string, options: { grant?: { role: string; project: string }[]; passwordFile?: string }) => {
      const password = await newPassword(cli, name, options.passwordFile);
      const { record } = await (
        await cli.client()
      ).user.create({ idempotencyKey: cli.newKey(), body: { name, spec: { grants: options.grant ?? [], password } } });
      showOne(cli, record as Row); // a record is a row
    });
  user
    .command("grant <name> <grants...>")
    .description("set what a user may do")
    .action(async (id: string, grants: string[]) => {
      await (await cli.client()).user.change({ params: { id }, body: { spec: { grants: grants.flatMap((grant) => grantArgument(grant)) } } });
    });
  user
    .command("password <name>")
    .description("set a password")
    .option("--password-file <file>", "first line is the new password; else it is asked for")
    .action(async (id: string, options: { passwordFile?: string }) => {
      const client = await cli.client();
      const own = (await client.session.whoAmI()).user === id;
      const current = own && cli.terminal.interactive ? await cli.terminal.ask("Present password: ", { hidden: true }) : undefined;
      await client.user.setPassword({
        params: { id },
        body: { password: await newPassword(cli, id, options.passwordFile), ...(current === undefined ? {} : { current }) },
      });
    });
  addDelete(user, cli, "user");

  const role = program.command("role").description("named sets of privileges");
  addListing(role, cli, "role", [
    nameColumn,
    idColumn,
    { title: "PRIVILEGES", value: (row) => (get(row, "spec.privileges") as string[] | undefined)?.length },
  ]);
  role
    .command("create <name>")
    .description("create a role")
    .requiredOption("--privilege <name>", "repeatable", privilegeArgument)
    .action(async (name: string, options: { privilege: PrivilegeName[] }) => {
      showOne(
        cli,
        (await (await cli.client()).role.create({ idempotencyKey: cli.newKey(), body: { name, spec: { privileges: options.privilege } } }))
          .record as Row,
      ); // a record is a row
    });
  addDelete(role, cli, "role");

  const token = program.command("token").description("API tokens of your own");
  addListing(token, cli, "token", [
    nameColumn,
    idColumn,
    {
      title: "EXPIRES",
      value: (row) => (typeof get(row, "spec.expiresAt") === "number" ? new Date(Number(get(row, "spec.expiresAt"))).toISOString() : "never"),
    },
  ]);
  token
    .command("create <name>")
    .description("make a token; its secret is shown once")
    .option("--privilege <name>", "at most this; repeatable", privilegeArgument)
    .option("--scope <project>", "in this project alone")
    .option("--valid-for <time>", "such as 30d", durationArgument)
    .option("--note <text...>", "what it is for", listArgument)
    .action(async (name: string, options: { privilege?: PrivilegeName[]; scope?: string; validFor?: number; note?: string[] }) => {
      const { record, secret } = await (
        await cli.client()
      ).token.create({
        body: {
          name,
          description: (options.note ?? []).join(" "),
          ...(options.privilege === undefined ? {} : { privileges: options.privilege }),
          ...(options.scope === undefined ? {} : { project: options.scope }),
          ...(options.validFor === undefined ? {} : { validForMs: options.validFor }),
        },
      });
      if (cli.options().output === "table") {
        cli.terminal.note("The secret, shown this once:");
        cli.terminal.out(secret);
      } else showOne(cli, { ...(record as Row), secret }); // a record is a row
    });
  addDelete(token, cli, "token");
}

async function newPassword(cli: Cli, name: string, file: string | undefined): Promise<string> {
  if (file !== undefined) return (await cli.readFile(file)).split("\n")[0] ?? "";
  const first = await cli.terminal.ask(`New password of ${name}: `, { hidden: true });
  if (first !== (await cli.terminal.ask("Once more: ", { hidden: true })))
    throw new InvalidArgumentError("The two are not the same; nothing was changed.");
  return first;
}
