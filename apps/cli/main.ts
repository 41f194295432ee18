/** The command line: wiring only. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 not allowed, 6 unreachable. */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { createClient, type Client } from "@sheaf/client";
import { problems, SheafError } from "@sheaf/model";
import { CommanderError } from "commander";
import type { Cli, Connection, GlobalOptions } from "./cli.ts";
import { chooseConnection, configPath, readConfig } from "./config-file.ts";
import { httpsTransport, type HttpsTransport } from "./https-transport.ts";
import { buildProgram } from "./program.ts";
import { realTerminal } from "./terminal.ts";

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
const interrupt = new AbortController();
process.once("SIGINT", () => interrupt.abort());

let transport: HttpsTransport | undefined;
const program = buildProgram((root) => {
  const options = (): GlobalOptions => root.opts<GlobalOptions>();
  const connection = async (): Promise<Connection> => chooseConnection(await readConfig(configPath(process.env)), options().server, process.env);
  const cli: Cli = {
    terminal: realTerminal(() => options().quiet),
    options,
    connection,
    client: async (): Promise<Client> => {
      const at = await connection();
      transport ??= httpsTransport(at);
      return createClient({ transport: transport.transport, ...(at.token === undefined ? {} : { token: at.token }) });
    },
    readFile: async (path) => {
      try {
        return path === "-" ? await text(process.stdin) : await readFile(path, "utf8");
      } catch (error) {
        throw new SheafError("invalid-input", `${path} cannot be read.`, { cause: error instanceof Error ? error.message : String(error) });
      }
    },
    environment: process.env,
    newKey: randomUUID,
    interrupted: interrupt.signal,
  };
  return cli;
}, Date.now);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
} finally {
  transport?.close();
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has written its own words
  const lines: string[] = [];
  if (error instanceof SheafError) {
    lines.push(`sheaf: ${error.message}`);
    for (const field of error.extra.errors ?? []) lines.push(`  ${field.at}: ${field.message}`);
    if (error.extra.cause !== undefined) lines.push(`  cause: ${error.extra.cause}`);
    if (error.extra.next !== undefined) lines.push(`  next:  ${error.extra.next}`);
    else if (error.code === "unauthenticated") lines.push("  next:  Run `sheaf login`.");
  } else lines.push(`sheaf: ${error instanceof Error ? error.message : String(error)}`);
  process.stderr.write(`${lines.join("\n")}\n`);
  return error instanceof SheafError ? problems[error.code].exit : 1;
}
