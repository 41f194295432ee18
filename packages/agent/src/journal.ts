/**
 * Values by name in one file that only grows: a change is on the disk when one line is, and changes asked for while the disk is busy go
 * out together. From time to time the file is written anew with what still counts. Called by KeptState alone.
 *
 * A line is the CRC-32 (RFC 1952, eight hexadecimal digits) of what follows it, and a JSON array of changes: `[name, value]`, or `[name]`
 * where it was taken away. The last line may have been cut off by a loss of power: nobody was told that it is kept, and it is dropped.
 * A damaged line before the last is a damaged disk. What it said is not known, so nothing that stood before it is believed.
 */
import { crc32 } from "node:zlib";
import type { Logger } from "@sheaf/base";
import type { Files, FileWriter } from "./ports.ts";

export interface JournalOptions {
  readonly files: Files;
  readonly logger: Logger;
  readonly directory: string;
}

/** Changes that become durable together; later ones to the same name replace earlier ones. */
interface Batch {
  /** JSON by name; `undefined`: taken away. */
  readonly changes: Map<string, string | undefined>;
  readonly written: PromiseWithResolvers<void>;
}

const fileName = "kept.log";
/** Lines that do not count any more, before the file is written anew: as many bytes as count, and this. */
const idleBytes = 64 * 1024;

export class Journal {
  readonly #files: Files;
  readonly #path: string;
  /** What the file says, by name: JSON. */
  readonly #kept: Map<string, string>;
  #bytes: number;
  #bytesWhenWhole: number;
  /** False: there is no file yet, or its end is not known: it is written anew. */
  #sound: boolean;
  #writer: FileWriter | undefined;
  #writing: Batch | undefined;
  #next: Batch | undefined;

  private constructor(options: JournalOptions, kept: Map<string, string>, bytes: number, sound: boolean) {
    this.#files = options.files;
    this.#path = `${options.directory}/${fileName}`;
    this.#kept = kept;
    this.#bytes = bytes;
    this.#bytesWhenWhole = 0;
    for (const [name, json] of kept) this.#bytesWhenWhole += Buffer.byteLength(lineOf([changeOf(name, json)]));
    this.#sound = sound;
  }

  /** @returns also how many lines were damaged; the file is then put into the folder `set-aside` */
  static async open(options: JournalOptions): Promise<{ readonly journal: Journal; readonly damaged: number }> {
    const { files, directory, logger } = options;
    await files.makeDirectory(directory);
    const path = `${directory}/${fileName}`;
    const text = await files.readText(path);
    const { kept, sound, damaged } = readLines(text ?? "");
    if (damaged > 0) {
      const aside = `${directory}/set-aside`;
      await files.makeDirectory(aside);
      await files.writeAtomic(`${aside}/${fileName}`, text ?? "");
      logger.error({ file: fileName, damaged, copiedTo: aside }, "what the agent keeps is damaged; the server's next sync brings it anew");
    }
    return { journal: new Journal(options, kept, Buffer.byteLength(sound), sound === text), damaged };
  }

  entries(): IterableIterator<[name: string, json: string]> {
    return this.#kept.entries();
  }

  /** Resolves when it is on the disk. @param name without a space or line break */
  put(name: string, value: unknown): Promise<void> {
    return this.#change(name, JSON.stringify(value));
  }

  remove(name: string): Promise<void> {
    return this.#change(name, undefined);
  }

  #change(name: string, json: string | undefined): Promise<void> {
    const batch = this.#next?.changes.has(name) ? this.#next : this.#writing?.changes.has(name) ? this.#writing : undefined;
    const before = batch ? batch.changes.get(name) : this.#kept.get(name);
    if (before === json) return batch?.written.promise ?? Promise.resolve();
    this.#next ??= { changes: new Map(), written: Promise.withResolvers() };
    this.#next.changes.set(name, json);
    const { promise } = this.#next.written;
    if (!this.#writing) void this.#write();
    return promise;
  }

  async #write(): Promise<void> {
    for (let batch = this.#next; batch; batch = this.#next) {
      this.#writing = batch;
      // What is asked for in the same moment goes along.
      await Promise.resolve();
      this.#next = undefined;
      try {
        await this.#keep(batch.changes);
        batch.written.resolve();
      } catch (error) {
        batch.written.reject(error);
      }
      this.#writing = undefined;
    }
  }

  async #keep(changes: Batch["changes"]): Promise<void> {
    if (!this.#sound || this.#bytes > 2 * this.#bytesWhenWhole + idleBytes) await this.#writeAnew(changes);
    else await this.#append(Buffer.from(lineOf([...changes].map(([name, json]) => changeOf(name, json)))));
    for (const [name, json] of changes) {
      if (json === undefined) this.#kept.delete(name);
      else this.#kept.set(name, json);
    }
  }

  async #append(line: Uint8Array): Promise<void> {
    const writer = (this.#writer ??= await this.#files.writer(this.#path, this.#bytes));
    try {
      await writer.write(line);
      await writer.sync();
      this.#bytes += line.byteLength;
    } catch (error) {
      // How much of it stands there is not known; nor, after a failed sync, whether another one would tell.
      this.#sound = false;
      await this.#close();
      throw error;
    }
  }

  async #writeAnew(changes: Batch["changes"]): Promise<void> {
    const lines: string[] = [];
    for (const [name, json] of this.#kept) if (!changes.has(name)) lines.push(lineOf([changeOf(name, json)]));
    for (const [name, json] of changes) if (json !== undefined) lines.push(lineOf([changeOf(name, json)]));
    const whole = Buffer.from(lines.join(""));
    await this.#close();
    this.#sound = false;
    await this.#files.writeAtomic(this.#path, whole);
    this.#sound = true;
    this.#bytes = whole.byteLength;
    this.#bytesWhenWhole = whole.byteLength;
  }

  async #close(): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    await writer?.close().catch(() => {});
  }
}

const changeOf = (name: string, json: string | undefined): string => (json === undefined ? `["${name}"]` : `["${name}",${json}]`);

function lineOf(changes: readonly string[]): string {
  const content = `[${changes.join(",")}]`;
  return `${crc32(content).toString(16).padStart(8, "0")} ${content}\n`;
}

/** @returns `null` for a line that is not what was written */
function readLine(line: string): readonly (readonly [name: string, value?: unknown])[] | null {
  const content = line.slice(9);
  if (line[8] !== " " || Number.parseInt(line.slice(0, 8), 16) !== crc32(content)) return null;
  return JSON.parse(content) as readonly (readonly [name: string, value?: unknown])[]; // as lineOf wrote it: the checksum says so
}

function readLines(text: string): { readonly kept: Map<string, string>; readonly sound: string; readonly damaged: number } {
  const kept = new Map<string, string>();
  const end = text.lastIndexOf("\n") + 1;
  const lines = text.slice(0, end).split("\n").slice(0, -1);
  let damaged = 0;
  for (const [index, line] of lines.entries()) {
    const changes = readLine(line);
    if (changes) {
      for (const change of changes) {
        if (change.length === 1) kept.delete(change[0]);
        else kept.set(change[0], JSON.stringify(change[1]));
      }
      continue;
    }
    if (index === lines.length - 1) return { kept, sound: text.slice(0, end - line.length - 1), damaged };
    damaged += 1;
    kept.clear();
  }
  return { kept, sound: damaged > 0 ? "" : text.slice(0, end), damaged };
}
