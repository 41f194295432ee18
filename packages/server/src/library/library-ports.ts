/**
 * What the image library needs of the outside, and its limits. The classes and functions of the adapters fit these shapes as they
 * are. Holds no logic.
 */
import type { Clock, Logger } from "@sheaf/base";
import type { TaskLog } from "@sheaf/controllers";
import type { Store } from "@sheaf/store";
import type { RecordCache } from "../context.ts";

export interface LibraryFileWriter {
  write(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface LibraryFiles {
  readText(path: string): Promise<string | null>;
  readRange(path: string, offset: number, length: number): Promise<Uint8Array>;
  writeAtomic(path: string, content: string): Promise<void>;
  /** Durable when it resolves. */
  rename(from: string, to: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  /** What is not there is no error. */
  remove(path: string): Promise<void>;
  list(path: string): Promise<string[]>;
  facts(path: string): Promise<{ readonly sizeBytes: number } | null>;
  space(path: string): Promise<{ readonly availableBytes: number }>;
  /** @param range `end` is the last byte (inclusive) */
  stream(path: string, range?: { start?: number; end?: number }): AsyncIterable<Uint8Array>;
  /** Made when it is not there; what lies behind `offset` is cut off. */
  writer(path: string, offset?: number): Promise<LibraryFileWriter>;
  syncFile(path: string): Promise<void>;
}

export interface LibraryProgramOptions {
  /** Wall time, ms. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  readonly limits?: { readonly memoryBytes?: number; readonly cpuSeconds?: number; readonly fileBytes?: number };
}

/** Programs without a shell. Both throw where the program did not come to an end by itself; `stream` also where it failed. */
export interface LibraryPrograms {
  run(
    program: string,
    programArguments: readonly string[],
    options: LibraryProgramOptions,
  ): Promise<{ readonly exitCode: number | null; readonly output: string; readonly errorOutput: string }>;
  stream(program: string, programArguments: readonly string[], options: LibraryProgramOptions): AsyncIterable<Uint8Array>;
}

export interface LibraryDownload {
  /** Where the first byte of `body` stands in the file: the offset asked for, or 0 when the server gives the whole file. */
  readonly offset: number;
  readonly totalBytes?: number;
  /** To resume with. */
  readonly validator?: string;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface LibraryDownloads {
  /** An error with the member `temporary: false` is final; every other one may pass. */
  download(
    url: string,
    options: { readonly offset: number; readonly validator?: string; readonly signal: AbortSignal; readonly idleTimeoutMs: number },
  ): Promise<LibraryDownload>;
}

export interface LibraryLimits {
  /** Of a file as it is fetched or uploaded. */
  readonly fetchedBytes: number;
  /** Of a file after unpacking, and of a converted one. */
  readonly unpackedBytes: number;
  /** Of the disk that an image shows to a machine. */
  readonly virtualBytes: number;
  /** Always left free on the library's file system. */
  readonly reserveBytes: number;
  /** Images checked and converted at once. */
  readonly checksAtOnce: number;
  readonly downloadsAtOnce: number;
  /** Failures of a download one after the other, without a byte between them, until it is given up. */
  readonly downloadTries: number;
  /** Pause after the first of them, ms; doubles, up to `lastRetryMs`. */
  readonly firstRetryMs: number;
  readonly lastRetryMs: number;
  /** Longest silence of a download, ms. */
  readonly idleTimeoutMs: number;
  /** Looking at an image's header, ms. */
  readonly inspectMs: number;
  /** Unpacking, checking or converting one image, ms each. */
  readonly workMs: number;
  /** Address space of a program that reads an image. */
  readonly programMemoryBytes: number;
}

const gibibyte = 2 ** 30;
export const defaultLibraryLimits: LibraryLimits = {
  fetchedBytes: 256 * gibibyte,
  unpackedBytes: 512 * gibibyte,
  virtualBytes: 16_384 * gibibyte,
  reserveBytes: gibibyte,
  checksAtOnce: 2,
  downloadsAtOnce: 4,
  downloadTries: 8,
  firstRetryMs: 1000,
  lastRetryMs: 60_000,
  idleTimeoutMs: 60_000,
  inspectMs: 30_000,
  workMs: 2 * 3_600_000,
  programMemoryBytes: 4 * gibibyte,
};

export interface LibraryContext {
  readonly store: Store;
  readonly cache: RecordCache;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tasks: TaskLog;
  readonly files: LibraryFiles;
  readonly programs: LibraryPrograms;
  readonly downloads: LibraryDownloads;
  /** Absolute; only the library writes into it. */
  readonly directory: string;
  readonly limits: LibraryLimits;
}
