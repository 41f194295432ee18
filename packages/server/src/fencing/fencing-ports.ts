/** What the fencing devices need of the outside. Real ones are in `adapters`. */
export interface FencingPrograms {
  /** An exit code other than 0 is no error. Rejects when the program cannot be started or does not end in time. */
  run(
    program: string,
    programArguments: readonly string[],
    options: {
      readonly deadlineMs: number;
      readonly signal: AbortSignal;
      readonly environment?: Readonly<Record<string, string>>;
      readonly input?: string;
    },
  ): Promise<{ readonly exitCode: number | null; readonly output: string; readonly errorOutput: string }>;
}

export interface HttpsCall {
  readonly method: "GET" | "POST";
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly user: string;
  readonly password: string;
  /** SHA-256 of the certificate that is expected, hexadecimal; absent: any is taken. */
  readonly certificateFingerprint?: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal: AbortSignal;
}
/** Rejects when no answer comes, or one of more than a MiB. */
export type CallHttps = (call: HttpsCall) => Promise<{ readonly status: number; readonly text: string }>;
