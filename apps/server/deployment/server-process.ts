/**
 * The server as a child process: started, waited for, stopped or killed. Used by `npm start`, end-to-end tests and benchmarks.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { ended, until } from "./processes.ts";

export interface ServerOptions {
  readonly dataDirectory: string;
  readonly port: number;
  readonly agentPort: number;
  /** Names and addresses by which it is reached; the first is the one that is told to others. */
  readonly names: readonly string[];
  /** Further words of its command line. */
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Words before its command line: where it is to run, if not on this machine itself. */
  readonly enter?: readonly string[];
  /** Another program than the server's own: one that puts the same parts together and speaks with its starter. */
  readonly program?: ServerProgram;
  /** Default: a minute. */
  readonly answerWithinMs?: number;
}

export interface ServerProgram {
  readonly path: string;
  /** Before those of the server. */
  readonly words?: readonly string[];
  /** What it says, from its first moment on; `answer` fails silently once it is gone. */
  readonly said: (message: unknown, answer: (message: object) => void) => void;
}

/** What the server writes to `server.json` once it answers. */
export interface ServerFacts {
  readonly pid: number;
  readonly url: string;
  readonly port: number;
  readonly agentPort: number;
  readonly caFingerprint: string;
}

export interface ServerProcess extends ServerFacts {
  readonly child: ChildProcess;
  readonly logFile: string;
  /** Clean stop; resolves when the process is gone. */
  stop(): Promise<void>;
  /** kill -9. */
  kill(): Promise<void>;
}

const program = join(import.meta.dirname, "../main.ts");

/** @throws Error where it does not answer in time, or ends before; then it is gone */
export async function startServerProcess(options: ServerOptions): Promise<ServerProcess> {
  const { dataDirectory } = options;
  await mkdir(join(dataDirectory, "logs"), { recursive: true, mode: 0o700 });
  const factsFile = join(dataDirectory, "server.json");
  await rm(factsFile, { force: true });
  const logFile = join(dataDirectory, "logs/server.log");
  const log = openSync(logFile, "a", 0o600);
  const words = [
    "--data",
    dataDirectory,
    "--port",
    String(options.port),
    "--agent-port",
    String(options.agentPort),
    ...options.names.flatMap((name) => ["--name", name]),
    ...(options.arguments ?? []),
  ];
  // A group of its own: Ctrl-C on the terminal is told to it by its starter, in the right order.
  const other = options.program;
  const argv = [
    ...(options.enter ?? []),
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    other?.path ?? program,
    ...(other?.words ?? []),
    ...words,
  ];
  const child = spawn(argv[0] ?? "", argv.slice(1), {
    stdio: ["ignore", log, log, ...(other ? (["ipc"] as const) : [])],
    detached: true,
    env: { ...process.env, ...options.environment },
  });
  closeSync(log);
  child.on("message", (message) => other?.said(message, (answer) => child.connected && child.send(answer, () => {})));
  const gone = ended(child);
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await gone;
  };
  const answer = until("the server's answer", options.answerWithinMs ?? 60_000, async () => {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`The server ended while it started:\n${(await readFile(logFile, "utf8")).slice(-3000)}`);
    const text = await readFile(factsFile, "utf8").catch(() => "");
    if (text === "") return undefined;
    const found = JSON.parse(text) as ServerFacts; // written by main.ts at once, by renaming
    return found.pid === child.pid ? found : undefined;
  });
  let facts: ServerFacts;
  try {
    facts = await answer;
  } catch (error) {
    // Nobody else knows of it: it would hold its ports and its store.
    await kill();
    throw error;
  }
  return {
    ...facts,
    child,
    logFile,
    async stop() {
      child.kill("SIGTERM");
      await gone;
    },
    kill,
  };
}
