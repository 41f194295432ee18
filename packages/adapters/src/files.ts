/**
 * Files under Node: the real side of the ports that server and agent define where they use them (each takes the part of
 * this class that it needs). Names are handed in whole; nothing here may be given a path that a user typed.
 */
import { constants, createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, readlink, rename, rm, stat, statfs, chmod, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";

export interface FileFacts {
  readonly sizeBytes: number;
  /** Last change of the content, ms since the epoch. */
  readonly modifiedAt: number;
  readonly directory: boolean;
}

/** A file being written from a given place on. Not durable before `sync`. */
export interface FileWriter {
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when everything written is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export class NodeFiles {
  /** @returns `null` when there is no such file. */
  async read(path: string): Promise<Uint8Array | null> {
    return absentAsNull(readFile(path));
  }

  /** @returns `null` when there is no such file. */
  async readText(path: string): Promise<string | null> {
    return absentAsNull(readFile(path, "utf8"));
  }

  /** The first `length` bytes from `offset`; fewer at the end of the file. */
  async readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    const [bytes = new Uint8Array(0)] = await this.readRanges(path, [{ offset, length }]);
    return bytes;
  }

  /** The same for several ranges, in their order: the file is opened once. */
  async readRanges(path: string, ranges: readonly { readonly offset: number; readonly length: number }[]): Promise<Uint8Array[]> {
    const file = await open(path, "r");
    try {
      return await Promise.all(ranges.map(({ offset, length }) => readFully(file, offset, length)));
    } finally {
      await file.close();
    }
  }

  /**
   * The whole file or none of it, also after a loss of power: written beside, synced, renamed, the directory synced.
   * @param options.mode 0o600 by default: most of what is written so is secret
   */
  async writeAtomic(path: string, content: string | Uint8Array, options: { mode?: number } = {}): Promise<void> {
    const beside = `${path}.new`;
    const directory = await open(dirname(path), "r");
    try {
      const file = await this.#openAnew(beside, options.mode ?? 0o600);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, path);
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  /** What a crash left under that name may have another mode: it is made afresh, so that the mode is what is asked for. */
  async #openAnew(path: string, mode: number): Promise<FileHandle> {
    const make = () => open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      return await make();
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      await rm(path, { force: true });
      return make();
    }
  }

  /** Durable: both directories are synced. */
  async rename(from: string, to: string): Promise<void> {
    await rename(from, to);
    await this.syncDirectory(dirname(to));
    if (dirname(from) !== dirname(to)) await this.syncDirectory(dirname(from));
  }

  /** Makes what is missing of the path. An existing directory gets the mode too. */
  async makeDirectory(path: string, mode = 0o700): Promise<void> {
    await mkdir(path, { recursive: true, mode });
    await chmod(path, mode);
  }

  /** A file, or a directory with all in it. What is not there is no error. */
  async remove(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true });
  }

  /** Names in a directory, sorted; none when there is no such directory. */
  async list(path: string): Promise<string[]> {
    return ((await absentAsNull(readdir(path))) ?? []).sort();
  }

  /** @returns `null` when there is nothing of this name. */
  async facts(path: string): Promise<FileFacts | null> {
    const found = await absentAsNull(stat(path));
    return found && { sizeBytes: found.size, modifiedAt: found.mtimeMs, directory: found.isDirectory() };
  }

  /** Size of the file system that holds `path`, and what an unprivileged writer may still use of it. */
  async space(path: string): Promise<{ readonly capacityBytes: number; readonly availableBytes: number }> {
    const facts = await statfs(path);
    return { capacityBytes: facts.blocks * facts.bsize, availableBytes: facts.bavail * facts.bsize };
  }

  /** What a symbolic link names; `null` when it is none, or not there. */
  async readLink(path: string): Promise<string | null> {
    try {
      return await readlink(path);
    } catch (error) {
      if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "EINVAL" || error.code === "ENOTDIR")) return null;
      throw error;
    }
  }

  /** @param range `end` is the last byte (inclusive) */
  stream(path: string, range: { start?: number; end?: number } = {}): AsyncIterable<Uint8Array> {
    return createReadStream(path, { ...range, highWaterMark: 256 * 1024 });
  }

  /**
   * Opens for writing at `offset`; what lies behind it is cut off. The file is made when it is not there.
   * @param offset at most the file's size
   */
  async writer(path: string, offset = 0, mode = 0o600): Promise<FileWriter> {
    const file = await open(path, constants.O_WRONLY | constants.O_CREAT, mode);
    try {
      await file.truncate(offset);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new HandleWriter(file, offset);
  }

  async syncFile(path: string): Promise<void> {
    const file = await open(path, "r");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  private async syncDirectory(path: string): Promise<void> {
    await this.syncFile(path);
  }
}

class HandleWriter implements FileWriter {
  readonly #file: FileHandle;
  #position: number;

  constructor(file: FileHandle, position: number) {
    this.#file = file;
    this.#position = position;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#position);
      done += bytesWritten;
      this.#position += bytesWritten;
    }
  }

  async sync(): Promise<void> {
    await this.#file.datasync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function readFully(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

async function absentAsNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return null;
    throw error;
  }
}
