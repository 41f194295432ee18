/**
 * The server as a program: its command line, its signals, its end. Called by main.ts, and by tests that hand in a store of their own.
 * Writes `server.json` into its data folder once it answers.
 */
import { parseArgs } from "node:util";
import { resolve } from "node:path";
import { createLogger, logLevels } from "@sheaf/adapters";
import { type Logger, parseBytes } from "@sheaf/base";
import { dataFolder } from "./data-folder.ts";
import type { OpenStore } from "./open-store.ts";
import { runServer, type Simulation, type TelemetryMode, telemetryModes } from "./run-server.ts";
import { joinSite } from "./server-material.ts";

/** What a program does around its server. */
export interface Around {
  readonly simulation?: (parts: { readonly logger: Logger }) => Simulation;
  /** The server answers. */
  readonly started?: (parts: { readonly logger: Logger; readonly dataDirectory: string }) => void;
  /** The server is about to stop. */
  readonly stopping?: () => void;
}

/** @param words of the command line; absent: this process's */
export async function serverProgram(openStore: OpenStore, around: Around = {}, words?: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...(words ?? process.argv.slice(2))],
    options: {
      data: { type: "string", default: ".sheaf" },
      /** Where the store is: `sqlite`, or `etcd://HOST:PORT,…`. */
      store: { type: "string" },
      /** Tells servers on one store apart. */
      "server-name": { type: "string" },
      /** Name or address by which agents and other servers reach this one. */
      "agent-name": { type: "string" },
      /** Folder of image files, shared by all servers on a store. */
      images: { type: "string" },
      /** Address of a server that runs, with `--token` and `--fingerprint`: this one joins it, once. `sheaf server join` prints the line. */
      join: { type: "string" },
      token: { type: "string" },
      fingerprint: { type: "string" },
      listen: { type: "string" },
      port: { type: "string", default: "7443" },
      "agent-port": { type: "string", default: "7444" },
      /** Name or address by which it is reached; the first is told to others. Repeatable. */
      name: { type: "string", multiple: true, default: ["localhost"] },
      /** Images may be imported from this machine itself: for labs. */
      "import-from-loopback": { type: "boolean", default: false },
      /** Largest image in bytes, as it is fetched and after unpacking. */
      "image-bytes": { type: "string" },
      /** Figures over time: `full` (24 h at 10 s), `short` (2 h at 10 s, 24 h at 1 min), `off`. */
      telemetry: { type: "string", default: "full" },
      "log-level": { type: "string", default: "info" },
    },
  });
  const logger = createLogger({
    level: logLevels.find((level) => level === values["log-level"]) ?? "info",
    fields: { program: "server", ...(around.simulation ? { simulated: true } : {}) },
  });

  try {
    const { join, token, fingerprint, "server-name": ownName } = values;
    if (join !== undefined) {
      if (token === undefined || fingerprint === undefined || ownName === undefined)
        throw new Error("--join needs --token, --fingerprint and --server-name: run the line that `sheaf server join` prints");
      await joinSite(dataFolder(resolve(values.data)), { server: join, token, fingerprint, name: ownName });
    }
    const server = await runServer({
      dataDirectory: resolve(values.data),
      ...(values.store === undefined ? {} : { store: values.store }),
      ...(values["server-name"] === undefined ? {} : { serverName: values["server-name"] }),
      ...(values.images === undefined ? {} : { images: resolve(values.images) }),
      ...(values["agent-name"] === undefined ? {} : { agentName: values["agent-name"] }),
      ...(values.listen === undefined ? {} : { listen: values.listen }),
      port: Number(values.port),
      agentPort: Number(values["agent-port"]),
      names: values.name,
      importFromLoopback: values["import-from-loopback"],
      ...(values["image-bytes"] === undefined ? {} : { imageBytes: bytesOf(values["image-bytes"]) }),
      telemetry: telemetryOf(values.telemetry),
      logger,
      openStore,
      ...(around.simulation ? { simulation: around.simulation({ logger }) } : {}),
      failed: (reason) => {
        logger.error({ reason }, "the store failed: the server ends and must be started again");
        process.exit(1);
      },
    });
    let ending = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (ending) return;
        ending = true;
        logger.info({ signal }, "the server stops");
        around.stopping?.();
        // What hangs is cut: everything acknowledged is on the disk already.
        setTimeout(() => process.exit(0), 10_000).unref();
        void server.stop().then(() => process.exit(0));
      });
    }
    around.started?.({ logger, dataDirectory: resolve(values.data) });
  } catch (error) {
    logger.error({ reason: error instanceof Error ? error.message : String(error) }, "the server could not start");
    process.exit(1);
  }
}

function telemetryOf(text: string): TelemetryMode {
  const mode = telemetryModes.find((each) => each === text);
  if (mode !== undefined) return mode;
  process.stderr.write(`--telemetry must be ${telemetryModes.join(", ")}, not ${text}.\n`);
  process.exit(2);
}

function bytesOf(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== null && bytes > 0) return bytes;
  process.stderr.write(`--image-bytes must be a size such as 200GiB, not ${text}.\n`);
  process.exit(2);
}
