/** Files in memory: for tests and the simulator. What a real disk does wrong (full, hung, broken) is switched on by the test. */
import type { Files, FileWriter } from "../ports.ts";

interface Entry {
  content: Uint8Array;
  directory: boolean;
  modifiedAt: number;
}

const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf("/")));

export class SimulatedFiles implements Files {
  readonly #entries = new Map<string, Entry>();
  capacityBytes = 1e12;
  availableBytes = 5e11;
  /** What is removed is free again. */
  freesSpace = false;
  /** Paths under which nothing answers, as storage that hangs. */
  readonly hung = new Set<string>();
  /** Writes that were made, in order: paths. */
  readonly writes: string[] = [];

  constructor(files: Readonly<Record<string, string>> = {}) {
    for (const [path, text] of Object.entries(files)) this.put(path, text);
  }

  /** Makes a file with all its directories. */
  put(path: string, content: string | Uint8Array): void {
    this.#directories(parentOf(path));
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    this.#entries.set(path, { content: bytes, directory: false, modifiedAt: 0 });
  }

  text(path: string): string | null {
    const entry = this.#entries.get(path);
    return entry && !entry.directory ? new TextDecoder().decode(entry.content) : null;
  }

  /** All files, without directories. */
  paths(prefix = "/"): string[] {
    return [...this.#entries].flatMap(([path, entry]) => (!entry.directory && path.startsWith(prefix) ? [path] : [])).sort();
  }

  /** Another machine's disk of the same content: what is left after a power failure. */
  async readText(path: string): Promise<string | null> {
    await this.#answer(path);
    return this.text(path);
  }

  async read(path: string): Promise<Uint8Array | null> {
    await this.#answer(path);
    return this.#entries.get(path)?.content ?? null;
  }

  async writeAtomic(path: string, content: string | Uint8Array): Promise<void> {
    await this.#answer(path);
    if (!this.#entries.get(parentOf(path))?.directory) throw new Error(`ENOENT: no such directory: ${parentOf(path)}`);
    this.writes.push(path);
    this.put(path, content);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#answer(from);
    const entry = this.#entries.get(from);
    if (!entry) throw new Error(`ENOENT: no such file: ${from}`);
    this.#entries.delete(from);
    this.#entries.set(to, entry);
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#answer(path);
    this.#directories(path);
  }

  async remove(path: string): Promise<void> {
    await this.#answer(path);
    for (const [each, { content }] of [...this.#entries]) {
      if (each !== path && !each.startsWith(`${path}/`)) continue;
      if (this.freesSpace) this.availableBytes += content.byteLength;
      this.#entries.delete(each);
    }
  }

  async list(path: string): Promise<string[]> {
    await this.#answer(path);
    const names = [...this.#entries.keys()].flatMap((each) =>
      each.startsWith(`${path}/`)
        ? [
            each
              .slice(path.length + 1)
              .split("/", 1)
              .join(""),
          ]
        : [],
    );
    return [...new Set(names)].sort();
  }

  async facts(path: string): Promise<{ sizeBytes: number; directory: boolean; modifiedAt: number } | null> {
    await this.#answer(path);
    const entry = this.#entries.get(path);
    return entry ? { sizeBytes: entry.content.byteLength, directory: entry.directory, modifiedAt: entry.modifiedAt } : null;
  }

  async writer(path: string, offset = 0): Promise<FileWriter> {
    await this.#answer(path);
    const pieces = [(this.#entries.get(path)?.content ?? new Uint8Array(0)).slice(0, offset)];
    const store = (): void => this.put(path, Buffer.concat(pieces));
    store();
    return {
      write: async (bytes) => {
        pieces.push(bytes.slice());
        store();
      },
      sync: async () => {},
      close: async () => {},
    };
  }

  async *stream(path: string): AsyncGenerator<Uint8Array> {
    const content = await this.read(path);
    if (content) yield content;
  }

  async space(path: string): Promise<{ capacityBytes: number; availableBytes: number }> {
    await this.#answer(path);
    return { capacityBytes: this.capacityBytes, availableBytes: this.availableBytes };
  }

  async readLink(): Promise<string | null> {
    return null;
  }

  #directories(path: string): void {
    for (let each = path; each.length > 1; each = parentOf(each)) {
      if (!this.#entries.has(each)) this.#entries.set(each, { content: new Uint8Array(0), directory: true, modifiedAt: 0 });
      if (parentOf(each) === each) break;
    }
    this.#entries.set("/", { content: new Uint8Array(0), directory: true, modifiedAt: 0 });
  }

  async #answer(path: string): Promise<void> {
    for (const prefix of this.hung) if (path.startsWith(prefix)) await new Promise<never>(() => {});
  }
}
