/**
 * An agent that joining unpacked from an archive: versions lie side by side in one folder, a symbolic link says which is started, and the
 * start script beside them goes back to the version before where a new one does not prove itself (packaging/agent/start.sh; both write the
 * files named here). Made by `apps/agent`; needs GNU tar and coreutils, as joining does.
 */
import { createHash } from "node:crypto";
import type { UpgradeOrder } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import type { Files, Installation, Processes } from "./ports.ts";

export interface ArchiveInstallationOptions {
  readonly files: Files;
  readonly processes: Processes;
  /** Where the versions lie: `/opt/sheaf`. */
  readonly programs: string;
  /** This version's folder in it. */
  readonly folder: string;
  readonly platform: string;
  readonly archive: string;
  /** Words of this agent's command line: a new version must take them, too. */
  readonly words: readonly string[];
  readonly restart: () => void;
  /** This version has proved itself. */
  readonly proved: () => void;
}

/** Unpacked, an archive takes some four times its size; with itself, and some air. */
const roomFactor = 5;
const spareBytes = 64 * 2 ** 20;
const unpackMs = 300_000;
const selfTestMs = 60_000;

export class ArchiveInstallation implements Installation {
  readonly platform: string;
  readonly archive: string;
  readonly fixed = undefined;
  readonly restart: () => void;
  readonly #options: ArchiveInstallationOptions;
  readonly #scratch: string;
  /** There while a new version is on trial; the start script reads it, and removes it when it goes back. */
  readonly #trial: string;

  constructor(options: ArchiveInstallationOptions) {
    this.#options = options;
    this.platform = options.platform;
    this.archive = options.archive;
    this.restart = options.restart;
    this.#scratch = `${options.programs}/.upgrade`;
    this.#trial = `${options.programs}/trial`;
  }

  async onTrial(): Promise<boolean> {
    return fields(await this.#options.files.readText(this.#trial)).get("to") === this.#options.folder;
  }

  async givenUp(order: string): Promise<string | null> {
    const found = fields(await this.#options.files.readText(`${this.#trial}.failed`));
    return found.get("order") === order ? (found.get("why") ?? "it did not prove itself") : null;
  }

  async fetch(order: UpgradeOrder, body: AsyncIterable<Uint8Array>, received: (bytes: number) => void, signal: AbortSignal): Promise<void> {
    const { files, programs } = this.#options;
    await files.remove(this.#scratch);
    const { availableBytes } = await files.space(programs);
    const neededBytes = order.sizeBytes * roomFactor + spareBytes;
    if (availableBytes < neededBytes) throw noRoom(programs, `${neededBytes} bytes are needed, ${availableBytes} are free`);
    try {
      await files.makeDirectory(this.#scratch, 0o700);
      await this.#download(order, body, received, signal);
    } catch (error) {
      await files.remove(this.#scratch).catch(() => {});
      throw isFull(error) ? noRoom(programs, String(error)) : error;
    }
  }

  async #download(order: UpgradeOrder, body: AsyncIterable<Uint8Array>, received: (bytes: number) => void, signal: AbortSignal): Promise<void> {
    const { files } = this.#options;
    const writer = await files.writer(`${this.#scratch}/archive.tar.gz`, 0, 0o600);
    const hash = createHash("sha256");
    let bytes = 0;
    try {
      for await (const chunk of readable(body)) {
        signal.throwIfAborted();
        bytes += chunk.byteLength;
        if (bytes > order.sizeBytes) throw refused(`the server sent more than the ${order.sizeBytes} bytes that it ordered`);
        hash.update(chunk);
        await writer.write(chunk);
        received(bytes);
      }
      await writer.sync();
    } finally {
      await writer.close();
    }
    if (bytes < order.sizeBytes) throw torn(`the connection ended after ${bytes} of ${order.sizeBytes} bytes`);
    const digest = hash.digest("hex");
    if (digest !== order.sha256) throw refused(`what the server sent has the digest ${digest}, ordered was ${order.sha256}`);
  }

  async prepare(order: UpgradeOrder, signal: AbortSignal): Promise<void> {
    const { files, processes, programs, words } = this.#options;
    const fresh = `${this.#scratch}/agent`;
    try {
      await files.makeDirectory(fresh, 0o755);
      const unpacked = await processes.run(
        "tar",
        ["-xzf", `${this.#scratch}/archive.tar.gz`, "-C", fresh, "--strip-components=1", "--no-same-owner"],
        { deadlineMs: unpackMs, signal },
      );
      if (unpacked.exitCode !== 0) {
        if (unpacked.errorOutput.includes("No space left")) throw noRoom(programs, lastLine(unpacked.errorOutput));
        throw refused("the archive cannot be unpacked", lastLine(unpacked.errorOutput));
      }
      await files.writeAtomic(`${fresh}/archive.sha256`, `${order.sha256}\n`, { mode: 0o644 });
      const tried = await processes
        .run(`${fresh}/node_modules/.bin/node`, ["--disable-warning=ExperimentalWarning", `${fresh}/apps/agent/main.ts`, ...words, "--self-test"], {
          deadlineMs: selfTestMs,
          signal,
        })
        .catch((error: unknown) => ({ exitCode: null, errorOutput: error instanceof Error ? error.message : String(error) }));
      if (tried.exitCode !== 0) throw refused(`version ${order.version} does not pass its own test here`, lastLine(tried.errorOutput));
      await files.remove(this.#place(order));
      await files.rename(fresh, this.#place(order));
      // It must stand there, whole, before anything is started from it.
      await must(processes, "sync", ["-f", programs]);
    } catch (error) {
      throw isFull(error) ? noRoom(programs, String(error)) : error;
    } finally {
      await files.remove(this.#scratch).catch(() => {});
    }
  }

  async switchTo(order: UpgradeOrder): Promise<void> {
    const { files, processes, programs, folder } = this.#options;
    const to = folderOf(order);
    for (const name of ["failed", "starts", "late"]) await files.remove(`${this.#trial}.${name}`);
    await files.writeAtomic(this.#trial, `order=${order.order}\nversion=${order.version}\nfrom=${folder}\nto=${to}\n`, { mode: 0o644 });
    await files.remove(`${programs}/.agent`);
    await must(processes, "ln", ["-s", to, `${programs}/.agent`]);
    await files.rename(`${programs}/.agent`, `${programs}/agent`);
  }

  async prove(): Promise<void> {
    const { files, programs, folder } = this.#options;
    const from = fields(await files.readText(this.#trial)).get("from");
    await files.remove(this.#trial);
    for (const name of ["failed", "starts", "late"]) await files.remove(`${this.#trial}.${name}`);
    this.#options.proved();
    for (const name of await files.list(programs))
      if (/^agent-[0-9a-f]{12}$/.test(name) && name !== folder && name !== from) await files.remove(`${programs}/${name}`);
  }

  #place(order: UpgradeOrder): string {
    return `${this.#options.programs}/${folderOf(order)}`;
  }
}

/** As joining names it. */
const folderOf = ({ sha256 }: UpgradeOrder): string => `agent-${sha256.slice(0, 12)}`;

/** `name=value`, a line each. */
function fields(text: string | null): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of (text ?? "").split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) found.set(line.slice(0, at), line.slice(at + 1));
  }
  return found;
}

/** What breaks off on the way is the connection's fault. */
async function* readable(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await chunks.next().catch((error: unknown) => {
        throw torn(error instanceof Error ? error.message : String(error));
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await chunks.return?.();
  }
}

async function must(processes: Processes, program: string, words: readonly string[]): Promise<void> {
  const { exitCode, errorOutput } = await processes.run(program, words, { deadlineMs: 60_000 });
  if (exitCode !== 0) throw refused(`${program} failed`, lastLine(errorOutput));
}

const lastLine = (text: string): string => text.trim().split("\n").at(-1)?.slice(0, 500) ?? "";
const isFull = (error: unknown): boolean => error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
const noRoom = (programs: string, cause: string): SheafError =>
  new SheafError("no-capacity", `the disk of ${programs} has no room for the new version`, {
    cause,
    next: `Free space on the file system of ${programs}.`,
  });
const torn = (cause: string): SheafError =>
  new SheafError("unavailable", "the new version could not be fetched from the server", {
    cause,
    next: "Look at the network between host and server.",
  });
const refused = (detail: string, cause?: string): SheafError =>
  new SheafError("upgrade-failed", detail, {
    ...(cause === undefined || cause === "" ? {} : { cause }),
    next: "The version before works on. Look at the cause.",
  });
