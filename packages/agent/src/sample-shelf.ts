/**
 * Samples that no server has on its disk yet, oldest first. The newest are in memory, one each 10 s; what is older than a quarter of an hour (the
 * host is cut off, or its server is down) is thinned to one a minute and kept in a file for 72 hours, so that an agent that is restarted
 * meanwhile has it too. A line of the file is the CRC-32 of a row and the row as JSON; a line that was cut off is dropped. Called by the sampler.
 */
import { crc32 } from "node:zlib";
import type { SampleRow } from "@sheaf/contract";
import type { Logger } from "@sheaf/base";
import type { Files, FileWriter } from "./ports.ts";

export interface SampleShelfOptions {
  readonly files: Files;
  readonly logger: Logger;
  /** The file. */
  readonly path: string;
}

const slotsPerMinute = 6;
const slotsInMemory = 90;
const longestMinutes = 72 * 60;
/** Lines of rows that are gone, before the file is written anew. */
const idleLines = 720;

export class SampleShelf {
  readonly #options: SampleShelfOptions;
  /** One a minute, all in the file. */
  #old: SampleRow[];
  #lines: number;
  #bytes: number;
  /** One each 10 s. */
  #new: SampleRow[] = [];
  #writer: FileWriter | undefined;

  private constructor(options: SampleShelfOptions, rows: SampleRow[], bytes: number) {
    this.#options = options;
    this.#old = rows;
    this.#lines = rows.length;
    this.#bytes = bytes;
  }

  static async open(options: SampleShelfOptions): Promise<SampleShelf> {
    const text = (await options.files.readText(options.path)) ?? "";
    const { rows, bytes } = readRows(text);
    return new SampleShelf(options, rows.slice(-longestMinutes), bytes);
  }

  get isEmpty(): boolean {
    return this.#old.length + this.#new.length === 0;
  }

  /** Never fails: what the disk does not take is in memory. */
  async put(row: SampleRow): Promise<void> {
    this.#new.push(row);
    if (this.#new.length <= slotsInMemory) return;
    const minute = minuteOf(this.#new[0]);
    const end = this.#new.findIndex((each) => minuteOf(each) !== minute);
    const thinned = meanRow(this.#new.splice(0, Math.max(1, end)));
    this.#old.push(thinned);
    if (this.#old.length > longestMinutes) this.#old.shift();
    await this.#keep(thinned).catch((error: unknown) =>
      this.#options.logger.warn({ reason: String(error) }, "samples cannot be written to the disk; they are lost when the agent is restarted"),
    );
  }

  /** Up to here a server has them on its disk. */
  async drop(upTo: number): Promise<void> {
    const before = this.#old.length;
    this.#old = this.#old.filter(({ slot }) => slot > upTo);
    this.#new = this.#new.filter(({ slot }) => slot > upTo);
    if (before === 0 || this.#old.length > 0) return;
    await this.#close();
    await this.#options.files.remove(this.#options.path).catch(() => {});
    [this.#lines, this.#bytes] = [0, 0];
  }

  /** The oldest that are newer than a slot. */
  after(slot: number, most: number): readonly SampleRow[] {
    const found: SampleRow[] = [];
    for (const rows of [this.#old, this.#new]) {
      for (const row of rows) {
        if (row.slot <= slot) continue;
        found.push(row);
        if (found.length === most) return found;
      }
    }
    return found;
  }

  close(): Promise<void> {
    return this.#close();
  }

  async #keep(row: SampleRow): Promise<void> {
    const { files, path } = this.#options;
    if (this.#lines >= this.#old.length + idleLines) {
      await this.#close();
      const whole = Buffer.from(this.#old.map(lineOf).join(""));
      await files.writeAtomic(path, whole);
      [this.#lines, this.#bytes] = [this.#old.length, whole.length];
      return;
    }
    const bytes = Buffer.from(lineOf(row));
    try {
      const writer = (this.#writer ??= await files.writer(path, this.#bytes));
      await writer.write(bytes);
      await writer.sync();
    } catch (error) {
      // The next try begins where the last one that went well ended.
      await this.#close();
      throw error;
    }
    this.#bytes += bytes.length;
    this.#lines += 1;
  }

  async #close(): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    await writer?.close().catch(() => {});
  }
}

const minuteOf = (row: SampleRow | undefined): number => Math.floor((row?.slot ?? 0) / slotsPerMinute);

function lineOf(row: SampleRow): string {
  const content = JSON.stringify(row);
  return `${crc32(content).toString(16).padStart(8, "0")} ${content}\n`;
}

function readRows(text: string): { readonly rows: SampleRow[]; readonly bytes: number } {
  const rows: SampleRow[] = [];
  let bytes = 0;
  for (const line of text.split("\n").slice(0, -1)) {
    const content = line.slice(9);
    if (line[8] !== " " || Number.parseInt(line.slice(0, 8), 16) !== crc32(content)) break;
    rows.push(JSON.parse(content) as SampleRow); // as lineOf wrote it: the checksum says so
    bytes += Buffer.byteLength(line) + 1;
  }
  return { rows, bytes };
}

/** The mean of each figure, at the time of the last row: servers take rows in the order of time. */
export function meanRow(rows: readonly SampleRow[]): SampleRow {
  const last = rows.at(-1) ?? { slot: 0, host: [], vms: [] };
  if (rows.length <= 1) return last;
  const ids = new Set(rows.flatMap(({ vms }) => vms.map(({ id }) => id)));
  return {
    slot: last.slot,
    host: meanFigures(rows.map(({ host }) => host)),
    vms: [...ids].map((id) => ({
      id,
      figures: meanFigures(rows.flatMap(({ vms }) => vms.filter((vm) => vm.id === id).map(({ figures }) => figures))),
    })),
  };
}

function meanFigures(rows: readonly (readonly (number | null)[])[]): (number | null)[] {
  return Array.from({ length: Math.max(0, ...rows.map(({ length }) => length)) }, (_, place) => {
    const measured = rows.flatMap((row) => row[place] ?? []);
    return measured.length === 0 ? null : Math.round(measured.reduce((sum, each) => sum + each, 0) / measured.length);
  });
}
