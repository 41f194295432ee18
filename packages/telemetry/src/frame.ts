/**
 * What a log consists of: the rows that one host's agent told of the host and its machines, checked as a whole. A frame: `SHT1`, the
 * length and the CRC-32 (RFC 1952) of what follows, each in 32 bits; the host's identifier; the last slot of 10 s that was told; the
 * slots; then for each host and machine its identifier, its kind, the length of its columns and these.
 */
import { crc32 } from "node:zlib";
import type { MetricKind } from "@sheaf/model";
import { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import type { ColumnWriter } from "./column-codec.ts";
import { identifierBytes, identifierOf } from "./identifiers.ts";
import { kindNumbers, kindOfNumber, readColumns, readSlots, type Table, writeSlots } from "./table.ts";

const magic = Uint8Array.of(0x53, 0x48, 0x54, 0x31);
const headBytes = 12;
const longestFrameBytes = 64 * 2 ** 20;

export interface Frame {
  readonly source: string;
  readonly lastTold: number;
  readonly slots: Int32Array;
  readonly members: readonly { readonly id: string; readonly kind: MetricKind; readonly columns: Uint8Array }[];
}

/** Writes one frame at a time into the same bytes: `begin`, `member` for each, `end`. */
export class FrameWriter {
  readonly #out: ByteWriter;
  readonly #columns: ColumnWriter;
  #start = 0;
  #rows = 0;

  constructor(out: ByteWriter, columns: ColumnWriter) {
    this.#out = out;
    this.#columns = columns;
  }

  begin(source: Uint8Array, lastTold: number, slots: Int32Array, rows: number, members: number): void {
    const out = this.#out;
    this.#start = out.length;
    this.#rows = rows;
    out.append(magic);
    out.uint32(0);
    out.uint32(0);
    out.append(source);
    out.varint(lastTold);
    writeSlots(out, slots, rows);
    out.varint(members);
  }

  /** @param codes column by column, `stride` from one to the next */
  member(id: Uint8Array, kind: MetricKind, codes: Uint16Array, columns: number, stride: number): void {
    const out = this.#out;
    out.append(id);
    out.byte(kindNumbers[kind]);
    const lengthAt = out.length;
    out.uint32(0);
    out.varint(columns);
    for (let column = 0; column < columns; column += 1) this.#columns.write(out, codes, column * stride, this.#rows);
    out.setUint32(lengthAt, out.length - lengthAt - 4);
  }

  /** @returns how long the frame is */
  end(): number {
    const out = this.#out;
    const payload = out.bytes.subarray(this.#start + headBytes, out.length);
    out.setUint32(this.#start + 4, payload.length);
    out.setUint32(this.#start + 8, crc32(payload));
    return out.length - this.#start;
  }
}

/**
 * @param at where a frame should begin
 * @returns `null` where none that is whole does
 */
export function frameLength(bytes: Uint8Array, at: number): number | "more" | null {
  if (bytes.length - at < headBytes) return "more";
  for (let index = 0; index < magic.length; index += 1) if (bytes[at + index] !== magic[index]) return null;
  const reader = new ByteReader(bytes, at + 4);
  const length = reader.uint32();
  const checksum = reader.uint32();
  if (length > longestFrameBytes) return null;
  if (reader.left < length) return "more";
  return crc32(reader.take(length)) === checksum ? headBytes + length : null;
}

/** Of bytes that `frameLength` has found whole. @throws RangeError */
export function readFrame(bytes: Uint8Array): Frame {
  const reader = new ByteReader(bytes, headBytes);
  const source = identifierOf(reader.take(identifierBytes));
  const lastTold = reader.varint();
  const slots = readSlots(reader);
  const members: { id: string; kind: MetricKind; columns: Uint8Array }[] = [];
  for (let left = reader.varint(); left > 0; left -= 1) {
    const id = identifierOf(reader.take(identifierBytes));
    const kind = kindOfNumber(reader.byte());
    const columns = reader.take(reader.uint32());
    // Of a kind that a later version knows: its rows stay in the file.
    if (kind) members.push({ id, kind, columns });
  }
  return { source, lastTold, slots, members };
}

/** All but the columns: for whoever looks through a whole log, in which one host's frames name the same members again and again. */
export interface FrameHead {
  readonly source: string;
  readonly lastTold: number;
  readonly slots: Int32Array;
  /** Identifiers of the members, one behind the other. */
  readonly ids: Uint8Array;
}

/** As `readFrame`. @throws RangeError */
export function readFrameHead(bytes: Uint8Array): FrameHead {
  const reader = new ByteReader(bytes, headBytes);
  const source = identifierOf(reader.take(identifierBytes));
  const lastTold = reader.varint();
  const slots = readSlots(reader);
  const members = reader.varint();
  if (members * identifierBytes > bytes.length) throw new RangeError("more members than the frame has room for");
  const ids = new Uint8Array(members * identifierBytes);
  for (let member = 0; member < members; member += 1) {
    const from = reader.position;
    // With the kind behind it.
    reader.skip(identifierBytes + 1);
    for (let place = 0; place < identifierBytes; place += 1) ids[member * identifierBytes + place] = bytes[from + place] ?? 0;
    reader.skip(reader.uint32());
  }
  return { source, lastTold, slots, ids };
}

export const tableOf = (frame: Frame, member: Frame["members"][number]): Table => readColumns(new ByteReader(member.columns), frame.slots);
