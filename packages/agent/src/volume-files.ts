/** The files of volumes, by qemu-img: making, growing, measuring. Called by the volume reconciler alone. */
import { SheafError } from "@sheaf/model";
import { z } from "zod";
import { snapshotsPath } from "./machine-snapshots.ts";
import type { Files, Processes } from "./ports.ts";
import { runOrFail } from "./program.ts";

export type VolumeSource =
  | { readonly type: "empty" }
  | { readonly type: "linked" | "full"; readonly path: string; readonly format: "qcow2" | "raw" }
  | { readonly type: "copy"; readonly path: string; readonly format: "qcow2" | "raw" };

const Info = z.looseObject({ "virtual-size": z.number(), "actual-size": z.number(), "backing-filename": z.string().optional() });

/** Larger ones are of disks of many TiB; these are made by the program each time. */
const largestBlankBytes = 2 ** 20;
const blanksKept = 16;

/** Making metadata takes a moment; a full copy as long as its bytes. */
const shortMs = 60_000;
const copyMs = 4 * 3_600_000;

export class VolumeFiles {
  readonly #files: Files;
  readonly #processes: Processes;
  /** What qemu-img made of empty qcow2 disks, by its words: the next of a kind is a copy, and no program is started while its machine waits. */
  readonly #blanks = new Map<string, Uint8Array>();

  constructor(files: Files, processes: Processes) {
    this.#files = files;
    this.#processes = processes;
  }

  /** The file appears whole under its name, or not at all. */
  async make(path: string, format: "qcow2" | "raw", sizeBytes: number, source: VolumeSource): Promise<void> {
    const part = `${path}.new`;
    await this.#files.remove(part);
    if (source.type === "linked" && format !== "qcow2") {
      throw new SheafError("invalid-input", "a linked clone must be qcow2: choose format qcow2, or a full clone");
    }
    if (source.type === "full" || source.type === "copy") {
      await this.#run(["convert", "-q", "-W", "-f", source.format, "-O", format, source.path, part], `copying ${source.path}`, copyMs);
      const { virtualBytes } = await this.measure(part, format);
      if (virtualBytes < sizeBytes) await this.#run(["resize", "-q", "-f", format, part, String(sizeBytes)], `growing ${path}`, shortMs);
    } else {
      const backing = source.type === "linked" ? ["-b", source.path, "-F", source.format] : [];
      await this.#makeEmpty(part, format, backing, sizeBytes);
    }
    await this.#files.syncFile(part);
    // Its image may have been taken out of the pool while the disk was made: only a disk that was there before is seen by who takes it.
    if (source.type === "linked" && !(await this.#files.facts(source.path))) {
      await this.#files.remove(part);
      throw new SheafError("state-refused", "its image went from the pool while the disk was made: it is fetched and made anew");
    }
    await this.#files.rename(part, path);
  }

  /** Nothing in a qcow2 file's header and tables is of this one disk alone: only what it is based on, and its size. */
  async #makeEmpty(path: string, format: "qcow2" | "raw", backing: readonly string[], sizeBytes: number): Promise<void> {
    const kind = JSON.stringify([...backing, sizeBytes]);
    const blank = format === "qcow2" ? this.#blanks.get(kind) : undefined;
    if (blank) return this.#write(path, blank);
    await this.#run(["create", "-q", "-f", format, ...backing, path, String(sizeBytes)], `making ${path}`, shortMs);
    const facts = await this.#files.facts(path);
    if (format !== "qcow2" || !facts || facts.sizeBytes > largestBlankBytes) return;
    const made = await this.#files.read(path);
    if (!made) return;
    const [oldest] = this.#blanks.size < blanksKept ? [] : this.#blanks.keys();
    if (oldest !== undefined) this.#blanks.delete(oldest);
    this.#blanks.set(kind, made);
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    const writer = await this.#files.writer(path, 0, 0o644);
    try {
      await writer.write(bytes);
    } finally {
      await writer.close();
    }
  }

  /** Of a volume that no guest uses. */
  async grow(path: string, format: "qcow2" | "raw", sizeBytes: number): Promise<void> {
    await this.#run(["resize", "-q", "-f", format, path, String(sizeBytes)], `growing ${path}`, shortMs);
  }

  /** Also while a guest writes to it. */
  async measure(path: string, format: "qcow2" | "raw"): Promise<{ readonly virtualBytes: number; readonly allocatedBytes: number }> {
    const info = await this.#info(path, format);
    return { virtualBytes: info["virtual-size"], allocatedBytes: info["actual-size"] };
  }

  /** The file that a qcow2 disk is based on; `null`: none, or it is not written so far as to have a header. */
  async backing(path: string): Promise<string | null> {
    try {
      return (await this.#info(path, "qcow2"))["backing-filename"] ?? null;
    } catch (error) {
      if (error instanceof Error && /not in qcow2 format/.test(error.message)) return null;
      throw error;
    }
  }

  async #info(path: string, format: "qcow2" | "raw"): Promise<z.infer<typeof Info>> {
    const output = await this.#run(["info", "--output=json", "-U", "-f", format, path], `looking at ${path}`, shortMs);
    return Info.parse(JSON.parse(output));
  }

  async remove(path: string): Promise<void> {
    await this.#files.remove(path);
    await this.#files.remove(`${path}.new`);
    await this.#files.remove(snapshotsPath(path));
  }

  #run(programArguments: readonly string[], what: string, deadlineMs: number): Promise<string> {
    return runOrFail(this.#processes, "qemu-img", programArguments, { what, deadlineMs });
  }
}
