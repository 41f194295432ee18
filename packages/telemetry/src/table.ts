/**
 * Rows of one host or machine: which slots of time they stand for, and a column of codes for each figure. How a table is written, in logs
 * and segments alike: its slots as runs (most tables are a single one), the number of columns, the columns.
 */
import type { MetricKind } from "@sheaf/model";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { absent } from "./codes.ts";
import { readColumn, type ColumnWriter } from "./column-codec.ts";

export interface Table {
  /** Rising. In steps of the tier: 10 s, 5 min, 1 h since the epoch. */
  readonly slots: Int32Array;
  readonly columns: number;
  /** Column by column. */
  readonly codes: Uint16Array;
}

export const kindNumbers: { readonly [Kind in MetricKind]: number } = { vm: 0, host: 1, cluster: 2 };
export const kindOfNumber = (number: number): MetricKind | undefined => (["vm", "host", "cluster"] as const)[number];

export function writeSlots(out: ByteWriter, slots: Int32Array, count: number): void {
  out.varint(count);
  for (let row = 0, next = 0; row < count;) {
    const first = slots[row] ?? 0;
    let length = 1;
    while (row + length < count && slots[row + length] === first + length) length += 1;
    out.varint(first - next);
    out.varint(length);
    row += length;
    next = first + length;
  }
}

export function readSlots(reader: ByteReader): Int32Array {
  const count = reader.varint();
  if (count > 1_000_000) throw new RangeError("more rows than any file has");
  const slots = new Int32Array(count);
  for (let row = 0, next = 0; row < count;) {
    const first = next + reader.varint();
    const length = reader.varint();
    if (length === 0 || row + length > count) throw new RangeError("rows that do not add up");
    for (let each = 0; each < length; each += 1) slots[row + each] = first + each;
    row += length;
    next = first + length;
  }
  return slots;
}

export function writeTable(out: ByteWriter, columnWriter: ColumnWriter, { slots, columns, codes }: Table): void {
  writeSlots(out, slots, slots.length);
  out.varint(columns);
  for (let column = 0; column < columns; column += 1) columnWriter.write(out, codes, column * slots.length, slots.length);
}

export const readTable = (reader: ByteReader): Table => readColumns(reader, readSlots(reader));

/** @param slots shared with other tables of the same rows */
export function readColumns(reader: ByteReader, slots: Int32Array): Table {
  const columns = reader.varint();
  if (columns > 4096) throw new RangeError("more columns than any file has");
  const codes = new Uint16Array(columns * slots.length);
  for (let column = 0; column < columns; column += 1) readColumn(reader, codes, column * slots.length, slots.length);
  return { slots, columns, codes };
}

/** One table of all their rows. Of rows of the same slot the later table's counts: it was written again. */
export function joinTables(tables: readonly Table[]): Table {
  const [only] = tables;
  if (only && tables.length === 1) return only;
  const places = new Map<number, { readonly table: Table; readonly row: number }>();
  for (const table of tables) table.slots.forEach((slot, row) => places.set(slot, { table, row }));
  const slots = Int32Array.from(places.keys()).sort();
  const columns = Math.max(0, ...tables.map((table) => table.columns));
  const codes = new Uint16Array(columns * slots.length).fill(absent);
  slots.forEach((slot, at) => {
    const place = places.get(slot);
    if (!place) return;
    const { table, row } = place;
    for (let column = 0; column < table.columns; column += 1)
      codes[column * slots.length + at] = table.codes[column * table.slots.length + row] ?? absent;
  });
  return { slots, columns, codes };
}
