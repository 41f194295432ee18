/**
 * The newest rows of one tier, as they came: frames in a file that only grows, whose whereabouts are in memory. What was synced is never
 * lost; what a crash cut off was not acknowledged, and is dropped. Closed after a while and made into a segment by the tier.
 */
import type { MetricKind } from "@sheaf/model";
import { ByteWriter } from "./byte-writer.ts";
import { ColumnWriter } from "./column-codec.ts";
import { type Frame, type FrameHead, FrameWriter, readFrame, readFrameHead, tableOf } from "./frame.ts";
import { FrameIndex } from "./frame-index.ts";
import { scanFrames } from "./frame-scan.ts";
import { identifierBytes, identifierOf } from "./identifiers.ts";
import type { TelemetryFiles, TelemetryFileWriter } from "./ports.ts";
import { joinTables, type Table } from "./table.ts";

/** What a frame is made of, while it is open. */
export interface FrameRows {
  readonly source: string;
  readonly sourceBytes: Uint8Array;
  readonly lastTold: number;
  readonly slots: Int32Array;
  readonly rows: number;
  readonly members: readonly { readonly id: string; readonly idBytes: Uint8Array; readonly kind: MetricKind }[];
}

interface WaitingFrame {
  readonly source: string;
  readonly at: number;
  readonly length: number;
  readonly first: number;
  readonly last: number;
}

/** A disk that takes nothing for longer loses what came first. */
const longestWaitBytes = 256 * 2 ** 20;

export class TierLog {
  readonly path: string;
  /** Ms; its name. */
  readonly startedAt: number;
  /** In slots of its tier, of what is durable. */
  firstSlot = Number.POSITIVE_INFINITY;
  lastSlot = Number.NEGATIVE_INFINITY;
  readonly #files: TelemetryFiles;
  readonly #frames = new Map<string, FrameIndex>();
  /** Hosts that told of a machine or host: one, but for machines that moved. */
  readonly #tellers = new Map<string, string | string[]>();
  #writer: TelemetryFileWriter | undefined;
  #bytes: number;
  /** Frames that are not in the file yet; swapped with the other while they are written. */
  #waiting = new ByteWriter(64 * 1024);
  #spare = new ByteWriter(64 * 1024);
  #waitingFrames: WaitingFrame[] = [];
  readonly #columns = new ColumnWriter();

  private constructor(files: TelemetryFiles, path: string, startedAt: number, bytes: number) {
    this.#files = files;
    this.path = path;
    this.startedAt = startedAt;
    this.#bytes = bytes;
  }

  /** One that is not there yet. */
  static begin(files: TelemetryFiles, path: string, startedAt: number): TierLog {
    return new TierLog(files, path, startedAt, 0);
  }

  /** @param each is told of every frame, in order */
  static async open(files: TelemetryFiles, path: string, startedAt: number, each: (frame: FrameHead) => void = () => {}) {
    const log = new TierLog(files, path, startedAt, 0);
    /** Of each host's last frame: nearly always the same, and putting a hundred million of them into words would take a minute. */
    const known = new Map<string, Uint8Array>();
    const { soundBytes, damaged } = await scanFrames(files, path, (bytes, at) => {
      const frame = readFrameHead(bytes);
      each(frame);
      const before = known.get(frame.source);
      if (before === undefined || Buffer.compare(before, frame.ids) !== 0) {
        known.set(frame.source, frame.ids);
        for (let place = 0; place < frame.ids.length; place += identifierBytes)
          log.#noteTeller(identifierOf(frame.ids.subarray(place, place + identifierBytes)), frame.source);
      }
      log.#note({ source: frame.source, at, length: bytes.length, first: frame.slots[0] ?? 0, last: frame.slots.at(-1) ?? 0 });
    });
    log.#bytes = soundBytes;
    return { log, damaged };
  }

  get bytes(): number {
    return this.#bytes;
  }

  get hasWaiting(): boolean {
    return this.#waitingFrames.length > 0;
  }

  /** @param write gives the writer each member, in their order */
  append(rows: FrameRows, write: (frame: FrameWriter) => void): void {
    const at = this.#waiting.length;
    const writer = new FrameWriter(this.#waiting, this.#columns);
    writer.begin(rows.sourceBytes, rows.lastTold, rows.slots, rows.rows, rows.members.length);
    write(writer);
    const length = writer.end();
    for (const { id } of rows.members) this.#noteTeller(id, rows.source);
    this.#waitingFrames.push({ source: rows.source, at, length, first: rows.slots[0] ?? 0, last: rows.slots[rows.rows - 1] ?? 0 });
  }

  /** Resolves when all that was appended before is on the disk. One at a time. @throws what the files throw; what is not on the disk waits on */
  async commit(): Promise<void> {
    if (!this.hasWaiting) return;
    const frames = this.#waitingFrames;
    const bytes = this.#waiting;
    this.#waitingFrames = [];
    this.#waiting = this.#spare;
    this.#waiting.reset();
    this.#spare = bytes;
    try {
      this.#writer ??= await this.#files.writer(this.path, this.#bytes);
      await this.#writer.write(bytes.written);
      await this.#writer.sync();
    } catch (error) {
      // What stands behind the last sync is not known: the next try begins there again, with what has come meanwhile behind.
      await this.close();
      this.#waitAgain(frames);
      throw error;
    }
    for (const frame of frames) this.#note({ ...frame, at: this.#bytes + frame.at });
    this.#bytes += bytes.length;
  }

  #waitAgain(frames: readonly WaitingFrame[]): void {
    const failed = this.#spare;
    const since = this.#waiting;
    const from = failed.length;
    if (from + since.length > longestWaitBytes) return;
    failed.append(since.written);
    this.#waitingFrames = [...frames, ...this.#waitingFrames.map((frame) => ({ ...frame, at: frame.at + from }))];
    this.#waiting = failed;
    this.#spare = since;
  }

  async close(): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    await writer?.close().catch(() => {});
  }

  get sources(): string[] {
    return [...this.#frames.keys()];
  }

  /** Rows of one host or machine, a table for each frame that has some of these slots. Of what is durable alone. */
  async read(id: string, from: number, to: number): Promise<Table[]> {
    const tellers = this.#tellers.get(id);
    if (tellers === undefined) return [];
    const tables: Table[] = [];
    for (const source of typeof tellers === "string" ? [tellers] : tellers)
      for (const frame of await this.#readFrames(source, from, to))
        for (const member of frame.members) if (member.id === id) tables.push(tableOf(frame, member));
    return tables;
  }

  /** All rows that a host told, of itself and its machines. */
  async readSource(source: string): Promise<Map<string, Table>> {
    const tables = new Map<string, Table[]>();
    for (const frame of await this.#readFrames(source, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY))
      for (const member of frame.members) tables.set(member.id, [...(tables.get(member.id) ?? []), tableOf(frame, member)]);
    return new Map([...tables].map(([id, each]) => [id, joinTables(each)]));
  }

  /** Frames with some of the newest slots. */
  async *recent(from: number): AsyncIterable<Frame> {
    for (const source of this.sources) yield* await this.#readFrames(source, from, Number.POSITIVE_INFINITY);
  }

  async #readFrames(source: string, from: number, to: number): Promise<Frame[]> {
    const places = this.#frames.get(source)?.overlapping(from, to) ?? [];
    if (places.length === 0) return [];
    return (await this.#files.readRanges(this.path, places)).map(readFrame);
  }

  #note({ source, at, length, first, last }: WaitingFrame): void {
    let index = this.#frames.get(source);
    if (!index) this.#frames.set(source, (index = new FrameIndex()));
    index.add(at, length, first, last);
    this.firstSlot = Math.min(this.firstSlot, first);
    this.lastSlot = Math.max(this.lastSlot, last);
  }

  #noteTeller(id: string, source: string): void {
    const known = this.#tellers.get(id);
    if (known === undefined) this.#tellers.set(id, source);
    else if (typeof known === "string") {
      if (known !== source) this.#tellers.set(id, [known, source]);
    } else if (!known.includes(source)) known.push(source);
  }
}
