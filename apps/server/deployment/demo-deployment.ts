/**
 * A simulated data centre that lives: `npm start -- --demo N`. The real server with simulated hosts, in one process; begins anew at each
 * start, in a folder of its own. Needs neither root nor libvirt.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { simulatedMark } from "../wiring/data-folder.ts";
import { DeployedServer } from "./deployed-server.ts";
import { until } from "./processes.ts";

export interface DemoDeploymentOptions {
  readonly dataDirectory: string;
  readonly hosts: number;
  /** How many times as fast as usual failures and deeds of people come. */
  readonly pace: number;
  readonly port: number;
  readonly agentPort: number;
  readonly progress?: (text: string) => void;
}

/** Beside the real one's; each has its own. */
export const demoFolder = ".sheaf-demo";
const program = join(import.meta.dirname, "../demo/main.ts");
const readyMs = 600_000;

export class DemoDeployment extends DeployedServer {
  readonly #options: DemoDeploymentOptions;

  constructor(options: DemoDeploymentOptions) {
    super();
    this.#options = options;
  }

  async start(): Promise<void> {
    const { dataDirectory, hosts, pace, port, agentPort, progress = () => {} } = this.#options;
    await beginAnew(dataDirectory);
    progress("starting the server of a SIMULATED data centre");
    let ready = false;
    const said = (message: unknown): void => {
      const { progress: text, ready: isReady } = message as { progress?: string; ready?: true }; // of demo/main.ts
      if (text !== undefined) progress(text);
      if (isReady) ready = true;
    };
    await this.serve({
      ...{ dataDirectory, port, agentPort },
      names: ["127.0.0.1", "localhost"],
      program: { path: program, words: [String(hosts), String(pace)], said },
    });
    const { child, logFile } = this.server;
    await until("the simulated hosts", readyMs, () => {
      if (child.exitCode !== null) throw new Error(`The server ended while its hosts came up; its log is ${logFile}.`);
      return ready || undefined;
    });
  }

  stop(): Promise<void> {
    return this.endServer();
  }
}

/** Simulated hosts live in memory alone: what an earlier start left is worth nothing. @throws Error for a folder with anything else */
async function beginAnew(dataDirectory: string): Promise<void> {
  const content = await readdir(dataDirectory).catch(() => []);
  if (content.length > 0 && !existsSync(join(dataDirectory, simulatedMark)))
    throw new Error(`${dataDirectory} holds something else than a simulated data centre: name another folder with --data.`);
  await rm(dataDirectory, { recursive: true, force: true });
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
}
