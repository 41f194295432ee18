/** The command line: wiring only. */
import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { createClient, type Client } from "@sheaf/client";
import { SheafError } from "@sheaf/model";
import type { Cli, Connection, GlobalOptions } from "./cli.ts";
import { chooseConnection, configPath, readConfig } from "./config-file.ts";
import { httpsTransport, type HttpsTransport } from "./https-transport.ts";
import { reportProblem } from "./problem-report.ts";
import { buildProgram } from "./program.ts";
import { markSimulated, simulatedLine } from "./simulated-mark.ts";
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
      const marked = markSimulated(transport.transport, () => cli.terminal.note(simulatedLine));
      return createClient({ transport: marked, ...(at.token === undefined ? {} : { token: at.token }) });
    },
    readFile: async (path) => {
      let bytes: Buffer;
      try {
        bytes = path === "-" ? await buffer(process.stdin) : await readFile(path);
      } catch (error) {
        throw new SheafError("invalid-input", `${path} cannot be read.`, { cause: error instanceof Error ? error.message : String(error) });
      }
      if (!isUtf8(bytes)) throw new SheafError("invalid-input", `${path} is no UTF-8 text.`);
      return bytes.toString("utf8");
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
  const { exitCode, text: told } = reportProblem(error);
  process.stderr.write(told);
  process.exitCode = exitCode;
} finally {
  transport?.close();
}
