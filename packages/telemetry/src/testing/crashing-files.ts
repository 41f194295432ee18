/** Files in memory that tell what was synced from what was only written, and lose the latter when they crash. For tests alone. */
import type { TelemetryFiles, TelemetryFileWriter } from "../ports.ts";

interface Content {
  bytes: Uint8Array;
  /** Bytes that a crash leaves. */
  synced: number;
}

export class CrashingFiles implements TelemetryFiles {
  readonly contents = new Map<string, Content>();
  /** Calls that change something, so far. */
  changes = 0;
  /** Throws at this one and all after it, until it is taken away. */
  failAt = Number.POSITIVE_INFINITY;

  /** What the next start finds: of what was not synced, a share. */
  crash(shareKept = 0): void {
    this.failAt = Number.POSITIVE_INFINITY;
    for (const content of this.contents.values()) {
      const kept = content.synced + Math.floor((content.bytes.length - content.synced) * shareKept);
      content.bytes = content.bytes.slice(0, kept);
      content.synced = kept;
    }
  }

  bytesOf(path: string): Uint8Array {
    return this.contents.get(path)?.bytes ?? new Uint8Array(0);
  }

  setBytes(path: string, bytes: Uint8Array): void {
    this.contents.set(path, { bytes: bytes.slice(), synced: bytes.length });
  }

  async makeDirectory(): Promise<void> {}

  async list(directory: string): Promise<string[]> {
    const below = [...this.contents.keys()].flatMap((path) => (path.startsWith(`${directory}/`) ? [path.slice(directory.length + 1)] : []));
    return [...new Set(below.map((path) => path.split("/", 1).join("")))].sort();
  }

  async facts(path: string): Promise<{ readonly sizeBytes: number } | null> {
    const content = this.contents.get(path);
    return content ? { sizeBytes: content.bytes.length } : null;
  }

  async readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    const content = this.contents.get(path);
    if (!content) throw new Error(`there is no ${path}`);
    return content.bytes.slice(offset, offset + length);
  }

  readRanges(path: string, ranges: readonly { readonly offset: number; readonly length: number }[]): Promise<Uint8Array[]> {
    return Promise.all(ranges.map(({ offset, length }) => this.readRange(path, offset, length)));
  }

  async writer(path: string, offset = 0): Promise<TelemetryFileWriter> {
    this.#change();
    const content = this.contents.get(path) ?? { bytes: new Uint8Array(0), synced: 0 };
    content.bytes = content.bytes.slice(0, offset);
    content.synced = Math.min(content.synced, offset);
    this.contents.set(path, content);
    return {
      write: async (bytes) => {
        this.#change();
        content.bytes = new Uint8Array(Buffer.concat([content.bytes, bytes]));
      },
      sync: async () => {
        this.#change();
        content.synced = content.bytes.length;
      },
      close: async () => {},
    };
  }

  async rename(from: string, to: string): Promise<void> {
    this.#change();
    const content = this.contents.get(from);
    if (!content) throw new Error(`there is no ${from}`);
    this.contents.delete(from);
    this.contents.set(to, content);
  }

  async remove(path: string): Promise<void> {
    this.#change();
    for (const each of this.contents.keys()) if (each === path || each.startsWith(`${path}/`)) this.contents.delete(each);
  }

  #change(): void {
    this.changes += 1;
    if (this.changes >= this.failAt) throw new Error("the disk takes nothing");
  }
}
