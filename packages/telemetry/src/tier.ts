/**
 * All rows of one resolution: logs that grow, and the segments that are made of them when their time is over. Files are named after when they
 * were begun; a segment that stands under its name replaces the log of the same name, whatever a crash left of that.
 */
import type { Logger } from "@sheaf/base";
import type { Frame, FrameHead, FrameWriter } from "./frame.ts";
import type { TelemetryFiles } from "./ports.ts";
import { Segment, SegmentWriter } from "./segment.ts";
import type { Table } from "./table.ts";
import { type FrameRows, TierLog } from "./tier-log.ts";

export interface TierShape {
  /** Time that a row stands for, ms. */
  readonly stepMs: number;
  /** Rows are kept for so long, ms. */
  readonly keepMs: number;
  /** So much goes into one file, ms. */
  readonly fileMs: number;
}

export interface TierOptions {
  readonly files: TelemetryFiles;
  readonly logger: Logger;
  readonly directory: string;
  readonly shape: TierShape;
  /** A log stays one for so long after its end, ms: what starts with it reads back what is in memory. */
  readonly logsForMs: number;
}

interface Part {
  readonly file: TierLog | Segment;
  readers: number;
  /** A log that nothing is appended to any more, wherever the clock goes. */
  closed: boolean;
  removed: boolean;
}
const partOf = (file: TierLog | Segment): Part => ({ file, readers: 0, closed: false, removed: false });

export class Tier {
  readonly shape: TierShape;
  readonly #options: TierOptions;
  /** Oldest first. The last is the log that is written to, where there is one. */
  readonly #parts: Part[];
  #lastName: number;
  #packing: Promise<void> | null = null;

  private constructor(options: TierOptions, parts: Part[], lastName: number) {
    this.#options = options;
    this.shape = options.shape;
    this.#parts = parts;
    this.#lastName = lastName;
  }

  /** @param each is told of every frame of the logs, in order */
  static async open(options: TierOptions, each: (frame: FrameHead) => void): Promise<Tier> {
    const { files, directory, logger } = options;
    await files.makeDirectory(directory);
    const names = await files.list(directory);
    const parts: Part[] = [];
    let lastName = 0;
    for (const name of names) {
      const path = `${directory}/${name}`;
      const [, digits = "", ending = ""] = /^(\d{15})\.(log|segment)$/.exec(name) ?? [];
      const startedAt = Number(digits);
      if (ending === "") {
        if (name.endsWith(".new")) await files.remove(path);
        continue;
      }
      lastName = Math.max(lastName, startedAt);
      if (ending === "log") {
        if (names.includes(`${digits}.segment`)) {
          await files.remove(path);
          continue;
        }
        const { log, damaged } = await TierLog.open(files, path, startedAt, each);
        if (damaged > 0) logger.error({ path, damaged }, "a telemetry log is damaged: figures are missing; look at the disk");
        parts.push(partOf(log));
        continue;
      }
      try {
        parts.push(partOf(await Segment.open(files, path, startedAt)));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        logger.error({ path, reason: error.message }, "a telemetry file is damaged and left out: figures are missing; look at the disk");
      }
    }
    parts.sort((left, right) => left.file.startedAt - right.file.startedAt);
    return new Tier(options, parts, lastName);
  }

  get bytes(): number {
    return this.#parts.reduce((sum, { file }) => sum + file.bytes, 0);
  }

  /** Of the newest so many slots that logs have, every host's frames, oldest first. */
  async *recent(slots: number): AsyncIterable<Frame> {
    const newest = Math.max(...this.#parts.map(({ file }) => file.lastSlot));
    for (const { file } of this.#parts) if (file instanceof TierLog) yield* file.recent(newest - slots + 1);
  }

  /** To be made durable by the next `commit`. @param now wall clock, ms */
  append(now: number, rows: FrameRows, write: (frame: FrameWriter) => void): void {
    this.#log(now).append(rows, write);
  }

  /** One at a time. @throws what the files throw: what was appended since the last one that went well may be lost */
  async commit(): Promise<void> {
    for (const { file } of this.#parts) if (file instanceof TierLog) await file.commit();
  }

  /** Rows of one host or machine that have some of these slots, older files first. What cannot be read is left out and told. */
  async read(id: string, from: number, to: number): Promise<Table[]> {
    const parts = this.#parts.filter(({ file }) => file.firstSlot <= to && file.lastSlot >= from);
    const read = async (part: Part): Promise<Table[]> => {
      part.readers += 1;
      try {
        return await (part.file instanceof TierLog ? part.file.read(id, from, to) : part.file.read(id));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.#options.logger.error({ path: part.file.path, reason: error.message }, "telemetry that cannot be read is left out; look at the disk");
        return [];
      } finally {
        part.readers -= 1;
        await this.#dispose(part);
      }
    };
    return (await Promise.all(parts.map(read))).flat();
  }

  /** Deletes what is too old, and makes closed logs into segments, one after the other. Resolves when that is done; called again meanwhile, it is the same work. */
  keep(now: number): Promise<void> {
    this.#packing ??= this.#keep(now).finally(() => (this.#packing = null));
    return this.#packing;
  }

  async close(): Promise<void> {
    await this.#packing?.catch(() => {});
    for (const { file } of this.#parts) if (file instanceof TierLog) await file.close();
  }

  #log(now: number): TierLog {
    const { file: current, closed = true } = this.#parts.at(-1) ?? {};
    if (current instanceof TierLog && !closed && this.#period(current.startedAt) >= this.#period(now)) return current;
    this.#lastName = Math.max(now, this.#lastName + 1);
    const { files, directory } = this.#options;
    const path = `${directory}/${String(this.#lastName).padStart(15, "0")}.log`;
    const log = TierLog.begin(files, path, this.#lastName);
    this.#parts.push(partOf(log));
    return log;
  }

  #period = (time: number): number => Math.floor(time / this.shape.fileMs);

  async #keep(now: number): Promise<void> {
    const oldest = (now - this.shape.keepMs) / this.shape.stepMs;
    const current = this.#parts.at(-1);
    for (const part of [...this.#parts]) {
      const { file } = part;
      const ended = (this.#period(file.startedAt) + 1) * this.shape.fileMs;
      if (file instanceof TierLog && (file.hasWaiting || (part === current && ended > now))) continue;
      part.closed = true;
      if (file.lastSlot < oldest) await this.#remove(part);
      else if (file instanceof TierLog && ended + this.#options.logsForMs <= now) await this.#pack(part, file);
    }
  }

  async #pack(part: Part, log: TierLog): Promise<void> {
    const { files, logger } = this.#options;
    await log.close();
    const path = log.path.replace(/\.log$/, ".segment");
    const writer = await SegmentWriter.begin(files, path);
    try {
      for (const source of log.sources) for (const [id, table] of await log.readSource(source)) await writer.add(id, table);
      await writer.end();
    } catch (error) {
      await writer.abandon();
      logger.error({ path: log.path, reason: String(error) }, "a telemetry log could not be made into a segment; it stays, and is tried again");
      return;
    }
    const segment = await Segment.open(files, path, log.startedAt);
    this.#parts[this.#parts.indexOf(part)] = partOf(segment);
    part.removed = true;
    await this.#dispose(part);
  }

  async #remove(part: Part): Promise<void> {
    this.#parts.splice(this.#parts.indexOf(part), 1);
    part.removed = true;
    await this.#dispose(part);
  }

  /** A file that somebody reads is deleted when that has ended. */
  async #dispose(part: Part): Promise<void> {
    if (!part.removed || part.readers > 0) return;
    if (part.file instanceof TierLog) await part.file.close();
    await this.#options.files.remove(part.file.path);
  }
}
