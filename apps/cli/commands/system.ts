/** `sheaf audit …`, `backup …`, `support bundle`, `capacity`, `watch`, `events`, `admin …` */
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { formatBytes } from "@sheaf/base";
import { toError } from "@sheaf/client";
import { apiPrefix, rawRoutes } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { httpsTransport, readText } from "../https-transport.ts";
import { show, showOne, text } from "../output.ts";
import { follow } from "../wait.ts";
import { countArgument, durationArgument } from "./arguments.ts";

/** Nothing measures how busy they are: `used` stays empty. Sites without GPUs are spared the line. */
function gpuRow({ gpus, gpuMilli }: { gpus: number; gpuMilli: { offered: number; allocated: number; free: number } }) {
  const of = (milli: number): string => String(milli / 1000);
  if (gpus === 0) return [];
  return [
    { name: "gpus", installed: String(gpus), promisable: of(gpuMilli.offered), allocated: of(gpuMilli.allocated), used: "", free: of(gpuMilli.free) },
  ];
}

export function systemCommands(program: Command, cli: Cli): void {
  program
    .command("capacity")
    .description("CPU, memory and storage of all hosts as one pool")
    .option("--cluster <cluster>", "of one cluster")
    .action(async (options: { cluster?: string }) => {
      const pool = await (await cli.client()).system.capacity({ query: options });
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, pool);
      const row = (name: string, amount: typeof pool.cpu, format: (value: number) => string) => ({
        name,
        installed: format(amount.installed),
        promisable: format(amount.promisable),
        allocated: format(amount.allocated),
        used: format(amount.used),
        free: format(amount.free),
      });
      show(
        cli,
        [
          row("cpu", pool.cpu, (value) => String(Math.round(value))),
          row("memory", pool.memory, formatBytes),
          row("storage", pool.storage, formatBytes),
          ...gpuRow(pool),
        ],
        (["name", "installed", "promisable", "allocated", "used", "free"] as const).map((field) => ({
          title: field.toUpperCase(),
          value: (each) => each[field],
        })),
      );
      cli.terminal.note(
        `${pool.ready} of ${pool.hosts} hosts ready${pool.asleep > 0 ? `, ${pool.asleep} asleep` : ""}; machines: ${
          Object.entries(pool.vms)
            .map(([state, count]) => `${count} ${state}`)
            .join(", ") || "none"
        }`,
      );
      for (const { cluster, toleratedHostFailures: failures, spareMemoryBytes: spare } of pool.failOver)
        cli.terminal.note(
          spare >= 0
            ? `cluster ${cluster} survives the loss of ${failures} hosts, with ${formatBytes(spare)} of memory to spare`
            : `cluster ${cluster} does NOT survive the loss of ${failures} hosts: ${formatBytes(-spare)} of memory are missing`,
        );
    });

  const audit = program.command("audit").description("who changed what, when, from where");
  audit
    .command("list")
    .description("newest first")
    .option("--actor <name>", "of one user")
    .option("--target <text>", "about one record")
    .option("--limit <count>", "at most so many", countArgument, 50)
    .action(async (options: { actor?: string; target?: string; limit: number }) => {
      const { items } = await (await cli.client()).audit.list({ query: { ...options } });
      show(cli, items, [
        { title: "TIME", value: (row) => new Date(row.at).toISOString() },
        { title: "ACTOR", value: (row) => row.actor },
        { title: "FROM", value: (row) => row.from },
        { title: "ACTION", value: (row) => row.action },
        { title: "TARGET", value: (row) => row.target },
        {
          title: "RESULT",
          value: (row) => `${row.result}${row.code === undefined ? "" : ` ${row.code}`}${row.count === undefined ? "" : ` ×${row.count}`}`,
        },
      ]);
    });
  audit
    .command("verify")
    .description("recompute the hash chain; fails where it is broken")
    .action(async () => {
      const result = await (await cli.client()).audit.verify();
      showOne(cli, result);
      if (!result.intact)
        throw new SheafError("internal", `The audit trail is broken: ${result.problems.slice(0, 3).join("; ")}.`, {
          next: "Compare with the sealed files and backups; the first broken place is where it was changed.",
        });
    });
  audit
    .command("export [file]")
    .description("the whole trail as lines of JSON; to standard output without a file")
    .action((file?: string) => download(cli, `${apiPrefix}${rawRoutes.auditExport.path}`, file));

  program
    .command("support")
    .description("help for those who help you")
    .command("bundle <file>")
    .description("state, logs and versions in one file, secrets removed")
    .action(async (file: string) => {
      await writeFile(file, JSON.stringify(await (await cli.client()).system.supportBundle(), null, 2), { mode: 0o600 });
      cli.terminal.note(`Written to ${file}.`);
    });

  const server = program.command("server").description("servers that share one store");
  server
    .command("list")
    .description("which are there, and which leads")
    .action(async () => {
      const { servers } = await (await cli.client()).server.list();
      show(cli, servers, [
        { title: "NAME", value: (row) => row.name },
        { title: "ADDRESS", value: (row) => row.url },
        { title: "AGENTS", value: (row) => row.agentUrl },
        { title: "HOSTS", value: (row) => row.agents?.toString() ?? "" },
        { title: "VERSION", value: (row) => row.version },
        { title: "STATE", value: (row) => (row.leads ? "leads" : row.present ? "there" : "gone") },
      ]);
    });
  server
    .command("join")
    .description("print the line that starts one more server on this store")
    .option("--valid-for <time>", "how long the line works", durationArgument, 900_000)
    .action(async (options: { validFor: number }) => {
      const invitation = await (await cli.client()).server.invite({ body: { validForMs: options.validFor } });
      if (cli.options().output !== "table") return showOne(cli, invitation);
      cli.terminal.note("Run this on the new server's machine, in Sheaf's folder, with a NAME for it and --name with its address:");
      cli.terminal.out(invitation.command);
    });
  server
    .command("leave <name>")
    .description("forget a server that was stopped and will not come back")
    .action(async (name: string) => {
      await (await cli.client()).server.delete({ params: { name } });
      cli.terminal.note(`${name} has left.`);
    });

  const backup = program.command("backup").description("copies of the server's store");
  backup
    .command("create")
    .description("write a consistent copy beside the store, without stopping")
    .action(async () => showOne(cli, await (await cli.client()).system.backup()));
  backup
    .command("restore <file>")
    .description("on the server's own machine, with the server stopped: put a backup in the store's place")
    .option("--data <dir>", "the server's data folder", ".sheaf")
    .option("--store <place>", "where the store is, where the data folder does not know it yet")
    .action((file: string, options: { data: string; store?: string }) =>
      onServer(cli, "restore.ts", ["--data", options.data, ...(options.store === undefined ? [] : ["--store", options.store]), file]),
    );

  program
    .command("store")
    .description("where the server keeps everything")
    .command("migrate")
    .description("on the server's own machine, with every server stopped: move the store between SQLite and etcd")
    .requiredOption("--from <place>", "where it is: sqlite, or etcd://HOST:PORT,…")
    .requiredOption("--to <place>", "where it shall be; nothing may be there")
    .option("--data <dir>", "the server's data folder", ".sheaf")
    .action((options: { from: string; to: string; data: string }) =>
      onServer(cli, "migrate-store.ts", ["--data", options.data, "--from", options.from, "--to", options.to]),
    );

  program
    .command("admin")
    .description("for the server's own machine")
    .command("reset-password <user>")
    .description("set a new password without knowing the old one; with the server stopped")
    .option("--data <dir>", "the server's data folder", ".sheaf")
    .action((user: string, options: { data: string }) => onServer(cli, "reset-password.ts", ["--data", options.data, user]));

  for (const name of ["watch", "events"] as const) {
    program
      .command(`${name} [kind]`)
      .description(name === "watch" ? "show changes as they happen, one JSON document a line" : "show changes as sentences")
      .action(async (kind?: string) => {
        const shown = follow(cli, kind === undefined ? "" : `kind=${encodeURIComponent(kind)}`, undefined, (change) => {
          cli.terminal.out(
            name === "watch"
              ? JSON.stringify(change)
              : `${new Date().toISOString()}  ${change.kind} ${text(change.record, "name") ?? change.id} ${change.type}${text(change.record, "state") === undefined ? "" : `: ${text(change.record, "state")}`}`,
          );
          return false;
        });
        // Ctrl-C is how one leaves it.
        await shown.catch((error: unknown) => {
          if (!cli.interrupted.aborted) throw error;
        });
      });
  }
}

async function download(cli: Cli, path: string, file: string | undefined): Promise<void> {
  const https = httpsTransport(await cli.connection());
  try {
    const response = await https.stream(path, { signal: cli.interrupted });
    if (response.statusCode !== 200) throw toError({ status: response.statusCode ?? 0, headers: {}, text: await readText(response) });
    await pipeline(response, file === undefined ? process.stdout : createWriteStream(file, { mode: 0o600 }), { end: file !== undefined });
  } finally {
    https.close();
  }
}

/** Commands that work on the data folder itself belong to the server's program. */
async function onServer(cli: Cli, script: string, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`../../server/${script}`, import.meta.url)), ...args], {
    stdio: "inherit",
    signal: cli.interrupted,
  });
  const code = await new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (exit) => resolve(exit ?? 1));
  });
  if (code !== 0) throw new SheafError("internal", "It did not work; the reason stands above.");
}
