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

  readText(path: string): Promise<string | null> {
    return this.#at(path).readText(path);
  }

  read(path: string): Promise<Uint8Array | null> {
    return this.#at(path).read(path);
  }

  async writeAtomic(path: string, content: string | Uint8Array): Promise<void> {
    await this.#mayWrite();
    const files = this.#at(path);
    await files.writeAtomic(path, content);
    files.writes.length = 0;
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#at(from).rename(from, to);
  }

  makeDirectory(path: string): Promise<void> {
    return this.#at(path).makeDirectory(path);
  }

  remove(path: string): Promise<void> {
    return this.#at(path).remove(path);
  }

  list(path: string): Promise<string[]> {
    return this.#at(path).list(path);
  }

  facts(path: string) {
    return this.#at(path).facts(path);
  }

  async writer(path: string, offset = 0): Promise<FileWriter> {
    await this.#mayWrite();
    return this.#at(path).writer(path, offset);
  }

  stream(path: string): AsyncIterable<Uint8Array> {
    return this.#at(path).stream(path);
  }

  space(path: string) {
    return this.#at(path).space(path);
  }

  readLink(): Promise<string | null> {
    return Promise.resolve(null);
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
