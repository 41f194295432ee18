/** The files of volumes, by qemu-img: making, growing, measuring. Called by the volume reconciler alone. */
import { SheafError } from "@sheaf/model";
import { z } from "zod";
import type { Files, Processes } from "./ports.ts";
import { runOrFail } from "./program.ts";

export type VolumeSource =
  | { readonly type: "empty" }
  | { readonly type: "linked" | "full"; readonly path: string; readonly format: "qcow2" | "raw" }
  | { readonly type: "copy"; readonly path: string; readonly format: "qcow2" | "raw" };

const Info = z.looseObject({ "virtual-size": z.number(), "actual-size": z.number() });

/** Making metadata takes a moment; a full copy as long as its bytes. */
const shortMs = 60_000;
const copyMs = 4 * 3_600_000;

export class VolumeFiles {
  readonly #files: Files;
  readonly #processes: Processes;

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
      await this.#run(["create", "-q", "-f", format, ...backing, part, String(sizeBytes)], `making ${path}`, shortMs);
    }
    await this.#files.rename(part, path);
  }

  /** Of a volume that no guest uses. */
  async grow(path: string, format: "qcow2" | "raw", sizeBytes: number): Promise<void> {
    await this.#run(["resize", "-q", "-f", format, path, String(sizeBytes)], `growing ${path}`, shortMs);
  }

  /** Also while a guest writes to it. */
  async measure(path: string, format: "qcow2" | "raw"): Promise<{ readonly virtualBytes: number; readonly allocatedBytes: number }> {
    const output = await this.#run(["info", "--output=json", "-U", "-f", format, path], `looking at ${path}`, shortMs);
    const info = Info.parse(JSON.parse(output));
    return { virtualBytes: info["virtual-size"], allocatedBytes: info["actual-size"] };
  }

  async remove(path: string): Promise<void> {
    await this.#files.remove(path);
    await this.#files.remove(`${path}.new`);
  }

  #run(programArguments: readonly string[], what: string, deadlineMs: number): Promise<string> {
    return runOrFail(this.#processes, "qemu-img", programArguments, { what, deadlineMs });
  }
}
