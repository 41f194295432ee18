/** An agent as a child process: on this machine, or inside a lab host, where it dies with the host. */
import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { LabHost } from "@sheaf/lab";
import { ended } from "./processes.ts";

export interface AgentOptions {
  /** As the agent sees it. */
  readonly dataDirectory: string;
  /** As seen from here. */
  readonly logFile: string;
  readonly serverUrl: string;
  readonly address: string;
  /** Needed at the first start only. */
  readonly join?: { readonly token: string; readonly caFingerprint: string };
  readonly arguments?: readonly string[];
}

export interface AgentProcess {
  readonly child: ChildProcess;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

const program = join(import.meta.dirname, "../../agent/main.ts");

export async function startAgentProcess(options: AgentOptions, host?: LabHost): Promise<AgentProcess> {
  await mkdir(join(options.logFile, ".."), { recursive: true, mode: 0o700 });
  const log = openSync(options.logFile, "a", 0o600);
  const words = [
    "--disable-warning=ExperimentalWarning",
    program,
    "--data",
    options.dataDirectory,
    "--server",
    options.serverUrl,
    "--address",
    options.address,
    ...(options.join === undefined ? [] : ["--join", options.join.token, "--ca-fingerprint", options.join.caFingerprint]),
    ...(options.arguments ?? []),
  ];
  const settings: SpawnOptions = { stdio: ["ignore", log, log], detached: true };
  const child = host ? await host.spawn([process.execPath, ...words], { ...settings, cwd: "/" }) : spawn(process.execPath, words, settings);
  closeSync(log);
  const gone = ended(child);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await gone;
  };
  return { child, stop: () => end("SIGTERM"), kill: () => end("SIGKILL") };
}

/** Whether an agent with this data directory (as seen from here) has joined already. */
export const hasJoined = (dataDirectory: string): boolean => existsSync(join(dataDirectory, "certificate.pem"));
