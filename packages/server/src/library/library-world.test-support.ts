/** For the library's tests: thin real ports, a store in memory, images made of nothing but a spec. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, statfs, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { silentLogger, uuidv7, type Clock, type Random } from "@sheaf/base";
import { ImageSpec, partKey, type ImageLibraryStatus } from "@sheaf/model";
import { RecordCache } from "@sheaf/runtime";
import { openMemoryStore, type Store } from "@sheaf/store";
import { createImageLibrary, type RunningImageLibrary } from "./image-library.ts";
import { defaultLibraryLimits, type LibraryDownloads, type LibraryFiles, type LibraryLimits, type LibraryPrograms } from "./library-ports.ts";

export const clock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
export const random: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) };

const absent = <T>(work: Promise<T>): Promise<T | null> => work.catch(() => null);

export class TestFiles implements LibraryFiles {
  /** When set, what the file system says is free. */
  freeBytes: number | undefined;
  readText = (path: string): Promise<string | null> => absent(readFile(path, "utf8"));
  async readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
    const file = await open(path, "r");
    try {
      const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
  writeAtomic = (path: string, content: string): Promise<void> => writeFile(path, content);
  rename = (from: string, to: string): Promise<void> => rename(from, to);
  async makeDirectory(path: string): Promise<void> {
    await mkdir(path, { recursive: true });
  }
  remove = (path: string): Promise<void> => rm(path, { recursive: true, force: true });
  list = async (path: string): Promise<string[]> => (await readdir(path)).sort();
  async facts(path: string): Promise<{ sizeBytes: number } | null> {
    const found = await absent(stat(path));
    return found && { sizeBytes: found.size };
  }
  async space(path: string): Promise<{ availableBytes: number }> {
    const facts = await statfs(path);
    return { availableBytes: this.freeBytes ?? facts.bavail * facts.bsize };
  }
  stream = (path: string, range: { start?: number; end?: number } = {}): AsyncIterable<Uint8Array> => createReadStream(path, range);
  async writer(path: string, offset = 0): Promise<{ write(bytes: Uint8Array): Promise<void>; sync(): Promise<void>; close(): Promise<void> }> {
    const file = await open(path, "a");
    await truncate(path, offset);
    return { write: async (bytes) => void (await file.appendFile(bytes)), sync: () => file.datasync(), close: () => file.close() };
  }
  async syncFile(): Promise<void> {}
}

/** Every program that was run, with its arguments. */
export class TestPrograms implements LibraryPrograms {
  readonly runs: string[][] = [];
  /** While set, programs wait for it before they begin. */
  gate: Promise<void> | undefined;

  async run(program: string, programArguments: readonly string[], options: { signal?: AbortSignal }): ReturnType<LibraryPrograms["run"]> {
    this.runs.push([program, ...programArguments]);
    await Promise.race([this.gate, new Promise((_, reject) => options.signal?.addEventListener("abort", () => reject(new Error("cancelled"))))]);
    const child = spawn(program, programArguments, { stdio: ["ignore", "pipe", "pipe"], ...(options.signal ? { signal: options.signal } : {}) });
    let output = "";
    let errorOutput = "";
    child.stdout.on("data", (data) => (output += String(data)));
    child.stderr.on("data", (data) => (errorOutput += String(data)));
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (exitCode) => resolve({ exitCode, output, errorOutput }));
    });
  }

  async *stream(program: string, programArguments: readonly string[]): AsyncGenerator<Uint8Array> {
    this.runs.push([program, ...programArguments]);
    const child = spawn(program, programArguments, { stdio: ["ignore", "pipe", "ignore"] });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    try {
      yield* child.stdout as AsyncIterable<Uint8Array>; // no encoding is set: it yields buffers
      if ((await ended) !== 0) throw new Error(`${program} failed`);
    } finally {
      child.kill("SIGKILL");
      await ended;
    }
  }
}

/** Node's own fetch, which says where it went on. */
export const fetchDownloads: LibraryDownloads = {
  async download(url, { offset, validator, signal }) {
    const answer = await fetch(url, {
      signal,
      headers: offset === 0 ? {} : { range: `bytes=${offset}-`, ...(validator === undefined ? {} : { "if-range": validator }) },
    });
    if (answer.status === 404) throw Object.assign(new Error("there is no such file"), { temporary: false });
    assert.ok(answer.body);
    const begin = answer.status === 206 ? offset : 0;
    const length = Number(answer.headers.get("content-length"));
    const etag = answer.headers.get("etag");
    return { offset: begin, totalBytes: begin + length, ...(etag === null ? {} : { validator: etag }), body: answer.body };
  },
};

export class World {
  readonly root: string;
  readonly store: Store;
  readonly files = new TestFiles();
  readonly programs = new TestPrograms();
  readonly notes: string[] = [];
  readonly limits: LibraryLimits;
  cache: RecordCache;
  library: RunningImageLibrary;

  private constructor(root: string, store: Store, cache: RecordCache, limits: Partial<LibraryLimits>) {
    this.root = root;
    this.store = store;
    this.cache = cache;
    this.limits = {
      ...defaultLibraryLimits,
      reserveBytes: 2 ** 20,
      unpackedBytes: 128 * 2 ** 20,
      fetchedBytes: 2 ** 30,
      firstRetryMs: 5,
      lastRetryMs: 20,
      ...limits,
    };
    this.library = this.#make();
    this.library.start();
  }

  static async open(limits: Partial<LibraryLimits> = {}): Promise<World> {
    const store = await openMemoryStore({ clock, random });
    const cache = await RecordCache.open({ store, clock, logger: silentLogger });
    return new World(await mkdtemp(join(tmpdir(), "sheaf-library-")), store, cache, limits);
  }

  get directory(): string {
    return join(this.root, "images");
  }

  #make(): RunningImageLibrary {
    return createImageLibrary({
      store: this.store,
      cache: this.cache,
      clock,
      logger: silentLogger,
      tasks: { append: (_task, text) => void this.notes.push(text), progress() {} },
      files: this.files,
      programs: this.programs,
      downloads: fetchDownloads,
      directory: this.directory,
      limits: this.limits,
    });
  }

  /** Ends the library and starts another on the same files and store. */
  async restart(between: () => Promise<void> = async () => {}): Promise<void> {
    await this.library.stop();
    await between();
    this.library = this.#make();
    this.library.start();
  }

  async close(): Promise<void> {
    await this.library.stop();
    this.cache.close();
    await this.store.close();
    await rm(this.root, { recursive: true, force: true });
  }

  async add(spec: Partial<ImageSpec> = {}): Promise<string> {
    const id = uuidv7(Date.now(), random);
    const head = {
      kind: "image",
      id,
      name: `i-${id}`,
      project: "p",
      labels: {},
      generation: 1,
      createdAt: 0,
      createdBy: "u",
      finalizers: ["library"],
    };
    await this.#put(partKey("image", id, "spec"), { ...head, spec: ImageSpec.parse({ source: { upload: true }, ...spec }) });
    return id;
  }

  async askDeletion(id: string): Promise<void> {
    const entry = await this.store.get(partKey("image", id, "spec"));
    assert.ok(entry);
    await this.#put(entry.key, { ...JSON.parse(entry.value), deletedAt: 1 });
  }

  async #put(key: string, value: unknown): Promise<void> {
    const { revision } = await this.store.transact({ compare: [], then: [{ put: key, value: JSON.stringify(value) }] });
    await this.cache.waitFor(revision);
  }

  upload(id: string, bytes: Uint8Array, range: { offset: number; totalBytes?: number } = { offset: 0 }): Promise<number> {
    return this.library.receive(id, Readable.from([bytes], { objectMode: false }), range);
  }

  /** @throws when it does not come within 20 s */
  async until<T>(what: string, look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    const end = performance.now() + 20_000;
    for (;;) {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      if (performance.now() > end) throw new Error(`${what}: not within 20 s`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  status(id: string): ImageLibraryStatus | undefined {
    return this.cache.get("image", id)?.status.library;
  }

  /** Waits for the import's end, whichever. */
  ended(id: string): Promise<ImageLibraryStatus> {
    return this.until(`the import of ${id}`, () => {
      const status = this.status(id);
      return status?.state === "ready" || status?.state === "failed" ? status : undefined;
    });
  }

  /** Names of the files that the library keeps of an image, without its id. */
  async kept(id: string): Promise<string[]> {
    return (await readdir(this.directory))
      .filter((name) => name.startsWith(id))
      .map((name) => name.slice(id.length + 1))
      .sort();
  }

  path = (name: string): string => join(this.root, name);

  /** Makes a file with a program and reads it. */
  async made(name: string, program: string, ...programArguments: string[]): Promise<Buffer> {
    execFileSync(program, programArguments, { cwd: this.root, stdio: ["ignore", "ignore", "pipe"] });
    return readFile(this.path(name));
  }

  /** A raw disk with a boot sector, some content and some emptiness. */
  async rawDisk(bytes = 4 * 2 ** 20): Promise<Buffer> {
    const disk = Buffer.alloc(bytes);
    randomBytes(300_000).copy(disk, 4096);
    disk.writeUInt16BE(0x55aa, 510);
    await writeFile(this.path("disk.raw"), disk);
    return disk;
  }
}
