/**
 * Runs one program to its end and collects what it prints. Called by the lab's own files only.
 * Must never go through a shell with text that a caller gave: arguments are passed as a list.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { LabError } from "./lab-error.ts";

export interface CommandResult {
  /** Exit code; 128 when a signal ended the program. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Written to the program's standard input, which is then closed. */
  readonly input?: string | Uint8Array;
  /** Deadline in milliseconds, default 60,000. After it the program is killed and a LabError is thrown. */
  readonly timeoutMs?: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

const DEFAULT_TIMEOUT_MS = 60_000;
/** What one command may print on one stream; more is an error of the caller, not something to keep in memory. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** The environment of programs that the lab starts for itself: the caller's search path may lack the sbin folders. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Collects the output of a started program. Throws LabError on a timeout or when the program cannot be started. */
export function collect(child: ChildProcess, title: string, options: CommandOptions = {}): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    const fail = (message: string, cause?: Error): void => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      // A frozen program does not end when it is killed: do not wait for it, and do not keep this process alive for it.
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      reject(new LabError(message, { cause }));
    };
    const timer = setTimeout(() => fail(`${title} did not end within ${timeoutMs} ms and was killed`), timeoutMs);
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_OUTPUT_BYTES) fail(`${title} printed more than ${MAX_OUTPUT_BYTES} bytes and was killed`);
        else output[name].push(chunk);
      });
    }
    child.once("error", (error) => fail(`${title} cannot be started: ${error.message}`, error));
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 128, stdout: Buffer.concat(output.stdout).toString(), stderr: Buffer.concat(output.stderr).toString() });
    });
    // A program that ends without reading its input closes the pipe; its exit code tells the story.
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
  });
}

/** Runs a program and returns its code and output, whatever the code is. */
export function run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...rest] = argv;
  if (program === undefined) return Promise.reject(new LabError("an empty command cannot be run"));
  const env = options.env ?? { PATH: SYSTEM_PATH, LC_ALL: "C" };
  const child = spawn(program, rest, { stdio: "pipe", env, ...(options.cwd === undefined ? {} : { cwd: options.cwd }) });
  return collect(child, argv.join(" ").slice(0, 200), options);
}

/** Runs a program that must succeed; returns its standard output. Throws LabError with its last words otherwise. */
export async function must(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code === 0) return result.stdout;
  const words = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
  throw new LabError(`"${argv.join(" ").slice(0, 200)}" failed with code ${result.code}: ${words}`);
}
