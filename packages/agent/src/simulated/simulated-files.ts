/** Files in memory: for tests and the simulator. What a real disk does wrong (full, hung, broken) is switched on by who uses it. */
import type { Files, FileWriter } from "../ports.ts";

interface Entry {
  /** As it was written: text that is only read as text again is never made bytes. */
  readonly content: string | Uint8Array;
  /** Names in a directory; `null`: a file. */
  readonly names: Set<string> | null;
}

const none = new Uint8Array(0);
const bytesOf = (content: string | Uint8Array): Uint8Array => (typeof content === "string" ? new TextEncoder().encode(content) : content);
const sizeOf = (content: string | Uint8Array): number => (typeof content === "string" ? Buffer.byteLength(content) : content.byteLength);
const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf("/")));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

export class SimulatedFiles implements Files {
  readonly #entries = new Map<string, Entry>([["/", { content: none, names: new Set() }]]);
  capacityBytes = 1e12;
  availableBytes = 5e11;
  /** What is removed is free again. */
  freesSpace = false;
  /** Paths under which nothing answers, as storage that hangs. */
  readonly hung = new Set<string>();
  /** What symbolic links name. */
  readonly links = new Map<string, string>();
  /** What happens when something was written to these files, as in sysfs. */
  readonly written = new Map<string, (text: string) => void>();

  constructor(files: Readonly<Record<string, string>> = {}) {
    for (const [path, text] of Object.entries(files)) this.put(path, text);
  }

  /** Makes a file with all its directories. */
  put(path: string, content: string | Uint8Array): void {
    this.#add(path, { content, names: null });
  }

  text(path: string): string | null {
    const entry = this.#entries.get(path);
    if (!entry || entry.names) return null;
    return typeof entry.content === "string" ? entry.content : new TextDecoder().decode(entry.content);
  }

  /** All files, without directories. */
  paths(prefix = "/"): string[] {
    return [...this.#entries].flatMap(([path, entry]) => (!entry.names && path.startsWith(prefix) ? [path] : [])).sort();
  }

  async readText(path: string): Promise<string | null> {
    await this.#answer(path);
    return this.text(path);
  }

  async read(path: string): Promise<Uint8Array | null> {
    await this.#answer(path);
    const entry = this.#entries.get(path);
    return entry ? bytesOf(entry.content) : null;
  }

  async writeAtomic(path: string, content: string | Uint8Array): Promise<void> {
    await this.#answer(path);
    if (!this.#entries.get(parentOf(path))?.names) throw new Error(`ENOENT: no such directory: ${parentOf(path)}`);
    this.put(path, content);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#answer(from);
    const entry = this.#entries.get(from);
    if (!entry) throw new Error(`ENOENT: no such file: ${from}`);
    this.#drop(from);
    this.#add(to, entry);
  }

  async syncFile(path: string): Promise<void> {
    await this.#answer(path);
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#answer(path);
    this.#directory(path);
  }

  async remove(path: string): Promise<void> {
    await this.#answer(path);
    this.#drop(path, this.freesSpace);
  }

  async list(path: string): Promise<string[]> {
    await this.#answer(path);
    return [...(this.#entries.get(path)?.names ?? [])].sort();
  }

  async facts(path: string): Promise<{ sizeBytes: number; directory: boolean; modifiedAt: number } | null> {
    await this.#answer(path);
    const entry = this.#entries.get(path);
    return entry ? { sizeBytes: sizeOf(entry.content), directory: entry.names !== null, modifiedAt: 0 } : null;
  }

  async writer(path: string, offset = 0): Promise<FileWriter> {
    await this.#answer(path);
    // Grows by doubling: logs are written line by line. What others have read of it stays as it was.
    let space = bytesOf(this.#entries.get(path)?.content ?? none).slice(0, offset);
    let length = space.byteLength;
    this.put(path, space);
    return {
      write: async (bytes) => {
        await this.#answer(path);
        if (length + bytes.byteLength > space.byteLength) {
          const larger = new Uint8Array(2 * (length + bytes.byteLength));
          larger.set(space.subarray(0, length));
          space = larger;
        }
        space.set(bytes, length);
        length += bytes.byteLength;
        this.put(path, space.subarray(0, length));
        this.written.get(path)?.(new TextDecoder().decode(bytes));
      },
      sync: () => this.#answer(path),
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

  async readLink(path: string): Promise<string | null> {
    await this.#answer(path);
    return this.links.get(path) ?? null;
  }

  #add(path: string, entry: Entry): void {
    this.#directory(parentOf(path)).add(nameOf(path));
    this.#entries.set(path, entry);
  }

  #directory(path: string): Set<string> {
    const known = this.#entries.get(path)?.names;
    if (known) return known;
    const names = new Set<string>();
    this.#add(path, { content: none, names });
    return names;
  }

  #drop(path: string, frees = false): void {
    const entry = this.#entries.get(path);
    if (!entry) return;
    if (frees) this.availableBytes += sizeOf(entry.content);
    for (const name of [...(entry.names ?? [])]) this.#drop(`${path}/${name}`, frees);
    this.#entries.delete(path);
    this.#entries.get(parentOf(path))?.names?.delete(nameOf(path));
  }

  async #answer(path: string): Promise<void> {
    for (const prefix of this.hung) if (path.startsWith(prefix)) await new Promise<never>(() => {});
  }
}
