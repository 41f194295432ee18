/** The file systems of one simulated host: its own disk, and what it shares with others under one mount. The disk can be full, slow or silent. */
import type { Files, FileWriter, ProgramFiles, SimulatedFiles } from "@sheaf/agent";
import { type Clock, sleep } from "@sheaf/base";

export class HostFiles implements Files, ProgramFiles {
  readonly own: SimulatedFiles;
  readonly #mounts: readonly (readonly [prefix: string, files: SimulatedFiles])[];
  readonly #clock: Clock;
  full = false;
  /** Of each write. */
  delayMs = 0;
  /** What is shared cannot be reached from this host. */
  storageCut = false;

  constructor(own: SimulatedFiles, mounts: readonly (readonly [prefix: string, files: SimulatedFiles])[], clock: Clock) {
    this.own = own;
    this.#mounts = mounts;
    this.#clock = clock;
  }

  text(path: string): string | null {
    return this.#at(path).text(path);
  }

  put(path: string, content: string): void {
    this.#at(path).put(path, content);
  }

  paths(prefix: string): string[] {
    return this.#at(prefix).paths(prefix);
  }

  async readText(path: string): Promise<string | null> {
    return this.#reached(path).readText(path);
  }

  async read(path: string): Promise<Uint8Array | null> {
    return this.#reached(path).read(path);
  }

  async writeAtomic(path: string, content: string | Uint8Array): Promise<void> {
    await this.#mayWrite();
    await this.#reached(path).writeAtomic(path, isSeed(path) ? "a seed" : content);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#reached(from).rename(from, to);
  }

  async syncFile(path: string): Promise<void> {
    return this.#reached(path).syncFile(path);
  }

  async makeDirectory(path: string): Promise<void> {
    return this.#reached(path).makeDirectory(path);
  }

  async remove(path: string): Promise<void> {
    return this.#reached(path).remove(path);
  }

  async list(path: string): Promise<string[]> {
    return this.#reached(path).list(path);
  }

  async facts(path: string) {
    return this.#reached(path).facts(path);
  }

  async writer(path: string, offset = 0): Promise<FileWriter> {
    await this.#mayWrite();
    const writer = await this.#reached(path).writer(path, offset);
    return {
      ...writer,
      write: async (bytes) => {
        await this.#mayWrite();
        this.#reached(path);
        await writer.write(bytes);
      },
    };
  }

  stream(path: string): AsyncIterable<Uint8Array> {
    return this.#at(path).stream(path);
  }

  async space(path: string) {
    return this.#reached(path).space(path);
  }

  async readLink(path: string): Promise<string | null> {
    return this.#reached(path).readLink(path);
  }

  /** For the host's programs; `text`, `put` and `paths` are the world's own. */
  #reached(path: string): SimulatedFiles {
    const files = this.#at(path);
    if (this.storageCut && files !== this.own) throw Object.assign(new Error("EIO: input/output error"), { code: "EIO" });
    return files;
  }

  #at(path: string): SimulatedFiles {
    for (const [prefix, files] of this.#mounts) if (path.startsWith(prefix)) return files;
    return this.own;
  }

  async #mayWrite(): Promise<void> {
    if (this.delayMs > 0) await sleep(this.#clock, this.delayMs);
    if (this.full) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  }
}

/** Near a hundred kilobytes for each machine, of which nobody here reads more than that it is there. */
const isSeed = (path: string): boolean => path.endsWith(".iso");
