/**
 * The rows of a tier over some hours or days, put together by host and machine: written once, whole or not at all, never changed, deleted
 * as a whole when its rows are too old. A table for each, then an index in the order of identifiers, then a foot:
 *
 *     tables · index: { identifier, offset (48 bits), length, CRC-32 } each · foot: index's offset (48 bits), entries, first and last slot,
 *     the index's CRC-32, `SHS1`
 */
import { crc32 } from "node:zlib";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { ColumnWriter } from "./column-codec.ts";
import { bytesOfIdentifier, identifierBytes } from "./identifiers.ts";
import type { TelemetryFiles, TelemetryFileWriter } from "./ports.ts";
import { readTable, type Table, writeTable } from "./table.ts";

const magic = 0x31534853;
const entryBytes = identifierBytes + 6 + 4 + 4;
const footBytes = 6 + 4 + 4 + 4 + 4 + 4;
/** Of so many entries one identifier is in memory. */
const fenceEvery = 64;
const pieceBytes = 2 ** 20;
/** Of an index, at once. */
const indexPieceBytes = 4 * 2 ** 20;

export class SegmentWriter {
  readonly #files: TelemetryFiles;
  readonly #path: string;
  readonly #writer: TelemetryFileWriter;
  readonly #out = new ByteWriter(pieceBytes * 2);
  readonly #columns = new ColumnWriter();
  readonly #entries: { readonly id: Uint8Array; readonly offset: number; readonly length: number; readonly checksum: number }[] = [];
  #flushed = 0;
  #firstSlot = 2 ** 31 - 1;
  #lastSlot = 0;

  private constructor(files: TelemetryFiles, path: string, writer: TelemetryFileWriter) {
    this.#files = files;
    this.#path = path;
    this.#writer = writer;
  }

  static async begin(files: TelemetryFiles, path: string): Promise<SegmentWriter> {
    return new SegmentWriter(files, path, await files.writer(`${path}.new`, 0));
  }

  async add(id: string, table: Table): Promise<void> {
    const start = this.#out.length;
    writeTable(this.#out, this.#columns, table);
    const bytes = this.#out.bytes.subarray(start, this.#out.length);
    this.#entries.push({ id: bytesOfIdentifier(id), offset: this.#flushed + start, length: bytes.length, checksum: crc32(bytes) });
    this.#firstSlot = Math.min(this.#firstSlot, table.slots[0] ?? this.#firstSlot);
    this.#lastSlot = Math.max(this.#lastSlot, table.slots.at(-1) ?? 0);
    if (this.#out.length >= pieceBytes) await this.#flush();
  }

  /** Resolves when the segment is on the disk, under its name. */
  async end(): Promise<void> {
    await this.#flush();
    const out = this.#out;
    const indexOffset = this.#flushed;
    this.#entries.sort((left, right) => Buffer.compare(left.id, right.id) || left.offset - right.offset);
    for (const { id, offset, length, checksum } of this.#entries) {
      out.append(id);
      uint48(out, offset);
      out.uint32(length);
      out.uint32(checksum);
    }
    const checksum = crc32(out.written);
    uint48(out, indexOffset);
    out.uint32(this.#entries.length);
    out.uint32(this.#firstSlot);
    out.uint32(this.#lastSlot);
    out.uint32(checksum);
    out.uint32(magic);
    await this.#flush();
    await this.#writer.sync();
    await this.#writer.close();
    await this.#files.rename(`${this.#path}.new`, this.#path);
  }

  async abandon(): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#files.remove(`${this.#path}.new`);
  }

  async #flush(): Promise<void> {
    await this.#writer.write(this.#out.written);
    this.#flushed += this.#out.length;
    this.#out.reset();
  }
}

export class Segment {
  readonly path: string;
  readonly startedAt: number;
  readonly bytes: number;
  readonly firstSlot: number;
  readonly lastSlot: number;
  readonly #files: TelemetryFiles;
  readonly #indexOffset: number;
  readonly #entries: number;
  /** Every 64th identifier, one behind the other. */
  readonly #fences: Uint8Array;

  private constructor(files: TelemetryFiles, path: string, startedAt: number, bytes: number, foot: ReturnType<typeof readFoot>, fences: Uint8Array) {
    this.#files = files;
    this.path = path;
    this.startedAt = startedAt;
    this.bytes = bytes;
    this.firstSlot = foot.firstSlot;
    this.lastSlot = foot.lastSlot;
    this.#indexOffset = foot.indexOffset;
    this.#entries = foot.entries;
    this.#fences = fences;
  }

  /** @throws RangeError where it is damaged */
  static async open(files: TelemetryFiles, path: string, startedAt: number): Promise<Segment> {
    const size = (await files.facts(path))?.sizeBytes ?? 0;
    const foot = readFoot(await files.readRange(path, Math.max(0, size - footBytes), footBytes));
    if (foot.indexOffset + foot.entries * entryBytes + footBytes !== size) throw new RangeError("the length is not what the foot says");
    const fences = new Uint8Array(Math.ceil(foot.entries / fenceEvery) * identifierBytes);
    let checksum = 0;
    const entriesAtOnce = Math.floor(indexPieceBytes / (entryBytes * fenceEvery)) * fenceEvery;
    for (let first = 0; first < foot.entries; first += entriesAtOnce) {
      const count = Math.min(entriesAtOnce, foot.entries - first);
      const piece = await files.readRange(path, foot.indexOffset + first * entryBytes, count * entryBytes);
      checksum = crc32(piece, checksum);
      for (let entry = 0; entry < count; entry += fenceEvery) {
        const at = entry * entryBytes;
        fences.set(piece.subarray(at, at + identifierBytes), ((first + entry) / fenceEvery) * identifierBytes);
      }
    }
    if (checksum !== foot.checksum) throw new RangeError("the index is damaged");
    return new Segment(files, path, startedAt, size, foot, fences);
  }

  /** @throws RangeError where the rows are damaged */
  async read(id: string): Promise<Table[]> {
    const wanted = bytesOfIdentifier(id);
    // The same identifier may stand at the end of one stretch and the beginning of the next.
    let first = this.#fenceBefore(wanted);
    const tables: Table[] = [];
    for (; first < this.#entries; first += fenceEvery) {
      const count = Math.min(fenceEvery, this.#entries - first);
      const reader = new ByteReader(await this.#files.readRange(this.path, this.#indexOffset + first * entryBytes, count * entryBytes));
      for (let entry = 0; entry < count; entry += 1) {
        const order = Buffer.compare(reader.take(identifierBytes), wanted);
        if (order > 0) return tables;
        const offset = readUint48(reader);
        const length = reader.uint32();
        const checksum = reader.uint32();
        if (order < 0) continue;
        const bytes = await this.#files.readRange(this.path, offset, length);
        if (crc32(bytes) !== checksum) throw new RangeError("rows are damaged");
        tables.push(readTable(new ByteReader(bytes)));
      }
    }
    return tables;
  }

  /** Number of the entry of the last fence that is below; 0 where none is. */
  #fenceBefore(wanted: Uint8Array): number {
    let low = 0;
    let high = this.#fences.length / identifierBytes;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.#fences.subarray(middle * identifierBytes, (middle + 1) * identifierBytes), wanted) < 0) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1) * fenceEvery;
  }
}

function readFoot(bytes: Uint8Array) {
  const reader = new ByteReader(bytes);
  const indexOffset = readUint48(reader);
  const foot = { indexOffset, entries: reader.uint32(), firstSlot: reader.uint32(), lastSlot: reader.uint32(), checksum: reader.uint32() };
  if (reader.uint32() !== magic) throw new RangeError("it has no foot");
  return foot;
}

function uint48(out: ByteWriter, value: number): void {
  out.uint32(value % 2 ** 32);
  out.byte(Math.floor(value / 2 ** 32) & 0xff);
  out.byte(Math.floor(value / 2 ** 40) & 0xff);
}

const readUint48 = (reader: ByteReader): number => reader.uint32() + reader.byte() * 2 ** 32 + reader.byte() * 2 ** 40;
