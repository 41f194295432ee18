/** What the telemetry files need of the world around them. `adapters`' NodeFiles is one. */
export interface TelemetryFiles {
  makeDirectory(path: string): Promise<void>;
  /** Names in a directory, sorted. */
  list(path: string): Promise<string[]>;
  facts(path: string): Promise<{ readonly sizeBytes: number } | null>;
  /** Fewer bytes at the end of the file. */
  readRange(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** Several of one file, in their order: it is opened once. */
  readRanges(path: string, ranges: readonly { readonly offset: number; readonly length: number }[]): Promise<Uint8Array[]>;
  /** Opens for writing at `offset`, made when it is not there; what lies behind is cut off. */
  writer(path: string, offset?: number): Promise<TelemetryFileWriter>;
  /** Durable. */
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
}

export interface TelemetryFileWriter {
  write(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}
