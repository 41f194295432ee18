/**
 * Programs, run without a shell: the real side of the ports of server and agent. Every run has a deadline and a limit on what it
 * may print; on either, and on abort, the program's whole process group is killed, so that nothing it started stays behind.
 */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import type { Readable, Writable } from "node:stream";

export interface ProgramLimits {
  /** Address space in bytes (RLIMIT_AS). */
  readonly memoryBytes?: number;
  /** CPU time in seconds (RLIMIT_CPU). */
  readonly cpuSeconds?: number;
  /** Largest file it may write (RLIMIT_FSIZE). */
  readonly fileBytes?: number;
}

export interface ProgramOptions {
  /** Wall time, ms. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  /** Of standard output and standard error each; 1 MiB by default. */
  readonly maximumOutputBytes?: number;
  /** Added to a bare environment of PATH, LANG=C and HOME. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly input?: string | Uint8Array;
  /** Set with `prlimit` (util-linux), for programs that read what strangers made. */
  readonly limits?: ProgramLimits;
}

export interface ProgramResult {
  /** `null` when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly output: string;
  readonly errorOutput: string;
}

export type ProgramErrorCode = "not-found" | "timed-out" | "too-much-output" | "cancelled" | "not-started";

/** The program did not come to an end by itself. An exit code other than 0 is no error here: the caller judges it. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
  readonly code: ProgramErrorCode;
  constructor(code: ProgramErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** @throws ProgramError */
export async function runProgram(program: string, programArguments: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  const running = start(program, programArguments, options);
  const output = collect(running, running.child.stdout, options);
  const errorOutput = collect(running, running.child.stderr, options);
  running.child.stdin.on("error", () => {}); // the program may end without reading all of it; its exit code tells
  running.child.stdin.end(options.input ?? "");
  const { exitCode, signal } = await running.ended;
  return { exitCode, signal, output: output(), errorOutput: errorOutput() };
}

/**
 * A program whose output is read as it comes (a decompressor). Reading slowly slows the program; ending the loop early kills it.
 * @throws ProgramError while reading; also when the program ends with another exit code than 0 (`not-started`, its last words in the message)
 */
export async function* streamProgram(program: string, programArguments: readonly string[], options: ProgramOptions): AsyncGenerator<Uint8Array> {
  const running = start(program, programArguments, options);
  const errorOutput = collect(running, running.child.stderr, options);
  running.child.stdin.on("error", () => {});
  running.child.stdin.end(options.input ?? "");
  try {
    // Without an encoding a readable stream yields buffers.
    for await (const chunk of running.child.stdout as AsyncIterable<Uint8Array>) yield chunk;
    const { exitCode, signal } = await running.ended;
    if (exitCode !== 0) throw new ProgramError("not-started", `${program} ended with ${signal ?? exitCode}: ${lastWords(errorOutput())}`);
  } finally {
    running.kill();
    await running.ended.catch(() => {});
  }
}

interface Running {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly ended: Promise<{ exitCode: number | null; signal: string | null }>;
  kill(error?: ProgramError): void;
}

function start(program: string, programArguments: readonly string[], options: ProgramOptions): Running {
  if (options.signal?.aborted) throw new ProgramError("cancelled", `${program} was not started: the work was cancelled`);
  const limits = limitArguments(options.limits);
  const [command, ...rest] = limits.length > 0 ? ["prlimit", ...limits, "--", program, ...programArguments] : [program, ...programArguments];
  const child = spawn(command ?? program, rest, {
    shell: false,
    detached: true, // its own process group, so that its children can be killed with it
    stdio: ["pipe", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C", HOME: "/", ...options.environment },
    ...(options.workingDirectory === undefined ? {} : { cwd: options.workingDirectory }),
  });
  let failure: ProgramError | null = null;
  let over = false;
  const kill = (error?: ProgramError): void => {
    if (over) return;
    failure ??= error ?? null;
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  };
  const timer = setTimeout(
    () => kill(new ProgramError("timed-out", `${program} did not end within ${options.deadlineMs} ms and was killed`)),
    options.deadlineMs,
  );
  const onAbort = (): void => kill(new ProgramError("cancelled", `${program} was killed: the work was cancelled`, options.signal?.reason));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  const ended = new Promise<{ exitCode: number | null; signal: string | null }>((resolve, reject) => {
    const finish = (): void => {
      over = true;
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
    };
    child.once("error", (error: NodeJS.ErrnoException) => {
      finish();
      const code = error.code === "ENOENT" ? "not-found" : "not-started";
      reject(new ProgramError(code, `${program} could not be started: ${error.message}`, error));
    });
    child.once("close", (exitCode, signal) => {
      finish();
      // prlimit answers 127 for a program that is not there, as shells do.
      if (failure === null && limits.length > 0 && exitCode === 127) failure = new ProgramError("not-found", `${program} is not installed`);
      if (failure) reject(failure);
      else resolve({ exitCode, signal });
    });
  });
  // A caller that stops reading early never looks at it; without this Node would end the process.
  ended.catch(() => {});
  return { child, ended, kill };
}

function limitArguments(limits: ProgramLimits = {}): string[] {
  return [
    ...(limits.memoryBytes === undefined ? [] : [`--as=${limits.memoryBytes}`]),
    ...(limits.cpuSeconds === undefined ? [] : [`--cpu=${limits.cpuSeconds}`]),
    ...(limits.fileBytes === undefined ? [] : [`--fsize=${limits.fileBytes}`]),
  ];
}

function collect(running: Running, stream: Readable, options: ProgramOptions): () => string {
  const limit = options.maximumOutputBytes ?? 2 ** 20;
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > limit) running.kill(new ProgramError("too-much-output", `a program printed more than ${limit} bytes and was killed`));
    else chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

/** The last line a program printed: mostly the one that says why it failed. */
export function lastWords(text: string): string {
  return text.trim().split("\n").at(-1)?.slice(0, 500) ?? "";
}
