/**
 * One column of codes, packed: runs of up to 128 rows, each as its differences in a Rice code (R. F. Rice, "Some practical universal
 * noiseless coding techniques", 1979), whose parameter is the best for that run. A difference is taken to the row before, or to the run's
 * middle where figures jump about it; a run that does not change is at most four bytes, one without figures a single one.
 *
 * A run: a byte `mode | holes << 2 | middle << 3 | parameter << 4`; with `holes` a bit for each row that has a figure; the first figure, or
 * the middle; then the differences, lowest bits first: the quotient as ones and a zero, the rest in `parameter` bits; a quotient of 20 or
 * more is 20 ones and the whole difference in 17 bits.
 */
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { absent } from "./codes.ts";

export const runRows = 128;
const modes = { absent: 0, constant: 1, rice: 2 } as const;
const holesBit = 4;
const middleBit = 8;
const longestQuotient = 20;
const wholeBits = 17;
/** No run takes more: head, bits of the holes, first figure, and every row as a whole. */
const longestRunBytes = 1 + runRows / 8 + 3 + Math.ceil((runRows * (longestQuotient + wholeBits)) / 8) + 4;

const zigzag = (difference: number): number => (difference << 1) ^ (difference >> 31);
const unzigzag = (value: number): number => (value >>> 1) ^ -(value & 1);

/** Has room of its own for one run: make one and keep it. */
export class ColumnWriter {
  readonly #present = new Uint16Array(runRows);
  readonly #fromLast = new Uint32Array(runRows);
  readonly #fromMiddle = new Uint32Array(runRows);

  write(out: ByteWriter, codes: Uint16Array, offset: number, rows: number): void {
    for (let from = 0; from < rows; from += runRows) this.#run(out, codes, offset + from, Math.min(runRows, rows - from));
  }

  #run(out: ByteWriter, codes: Uint16Array, offset: number, rows: number): void {
    const present = this.#present;
    let count = 0;
    let sum = 0;
    let constant = true;
    for (let row = 0; row < rows; row += 1) {
      const code = codes[offset + row] ?? absent;
      if (code === absent) continue;
      present[count++] = code;
      sum += code;
      if (code !== present[0]) constant = false;
    }
    if (count === 0) return out.byte(modes.absent);
    out.reserve(longestRunBytes);
    const headAt = out.length++;
    let head = 0;
    if (count < rows) {
      head = holesBit;
      for (let first = 0; first < rows; first += 8) {
        let bits = 0;
        for (let row = first; row < Math.min(rows, first + 8); row += 1) if (codes[offset + row] !== absent) bits |= 1 << (row - first);
        out.byte(bits);
      }
    }
    const [first = 0] = present;
    if (constant) {
      out.bytes[headAt] = head | modes.constant;
      return out.varint(first);
    }
    const middle = Math.round(sum / count);
    const { before, around, differencesBefore, differencesAround } = this.#differences(count, middle);
    const useMiddle = differencesAround < differencesBefore;
    const values = useMiddle ? around : before;
    const from = useMiddle ? 0 : 1;
    const parameter = bestParameter(values, from, count, useMiddle ? differencesAround : differencesBefore);
    out.bytes[headAt] = head | modes.rice | (useMiddle ? middleBit : 0) | (parameter << 4);
    out.varint(useMiddle ? middle : first);
    writeRice(out, values, from, count, parameter);
  }

  #differences(count: number, middle: number) {
    const before = this.#fromLast;
    const around = this.#fromMiddle;
    let differencesBefore = 0;
    let differencesAround = zigzag((this.#present[0] ?? 0) - middle);
    around[0] = differencesAround;
    for (let row = 1; row < count; row += 1) {
      const code = this.#present[row] ?? 0;
      differencesBefore += before[row] = zigzag(code - (this.#present[row - 1] ?? 0));
      differencesAround += around[row] = zigzag(code - middle);
    }
    return { before, around, differencesBefore, differencesAround };
  }
}

/** Near the mean's logarithm (the differences fall off like a geometric distribution); of that and its neighbour the one that takes fewer bits. */
function bestParameter(values: Uint32Array, from: number, count: number, sum: number): number {
  const mean = Math.floor(sum / Math.max(1, count - from));
  const guess = Math.min(15, Math.max(0, 31 - Math.clz32(mean)));
  const lower = Math.max(0, guess - 1);
  let bitsOfGuess = (count - from) * (guess + 1);
  let bitsOfLower = (count - from) * (lower + 1);
  for (let row = from; row < count; row += 1) {
    const value = values[row] ?? 0;
    bitsOfGuess += value >>> guess;
    bitsOfLower += value >>> lower;
  }
  return bitsOfLower < bitsOfGuess ? lower : guess;
}

function writeRice(out: ByteWriter, values: Uint32Array, from: number, count: number, parameter: number): void {
  const { bytes } = out;
  let position = out.length;
  let bits = 0;
  let held = 0;
  const mask = (1 << parameter) - 1;
  // Never more than 7 held and 21 new.
  for (let row = from; row < count; row += 1) {
    const value = values[row] ?? 0;
    const quotient = value >>> parameter;
    const long = quotient >= longestQuotient;
    const ones = long ? longestQuotient : quotient;
    bits |= ((1 << ones) - 1) << held;
    held += long ? ones : ones + 1;
    while (held >= 8) {
      bytes[position++] = bits & 0xff;
      bits >>>= 8;
      held -= 8;
    }
    bits |= (long ? value : value & mask) << held;
    held += long ? wholeBits : parameter;
    while (held >= 8) {
      bytes[position++] = bits & 0xff;
      bits >>>= 8;
      held -= 8;
    }
  }
  if (held > 0) bytes[position++] = bits & 0xff;
  out.length = position;
}

/** Writes `rows` codes of a column to `codes` from `offset` on. */
export function readColumn(reader: ByteReader, codes: Uint16Array, offset: number, rows: number): void {
  for (let from = 0; from < rows; from += runRows) readRun(reader, codes, offset + from, Math.min(runRows, rows - from));
}

function readRun(reader: ByteReader, codes: Uint16Array, offset: number, rows: number): void {
  const head = reader.byte();
  const mode = head & 3;
  if (mode === modes.absent) {
    codes.fill(absent, offset, offset + rows);
    return;
  }
  const holes = (head & holesBit) !== 0 ? reader.take(Math.ceil(rows / 8)) : null;
  const base = reader.varint();
  if (mode === modes.constant) {
    for (let row = 0; row < rows; row += 1) codes[offset + row] = holes && !isSet(holes, row) ? absent : base;
    return;
  }
  if (mode !== modes.rice) throw new RangeError("a run of a kind that is not known");
  const middle = (head & middleBit) !== 0;
  const parameter = head >>> 4;
  const mask = (1 << parameter) - 1;
  const { bytes } = reader;
  let { position } = reader;
  let bits = 0;
  let held = 0;
  let last = base;
  let first = !middle;
  for (let row = 0; row < rows; row += 1) {
    if (holes && !isSet(holes, row)) {
      codes[offset + row] = absent;
      continue;
    }
    if (first) {
      first = false;
      codes[offset + row] = base;
      continue;
    }
    while (held <= 24 && position < bytes.length) {
      bits |= (bytes[position++] ?? 0) << held;
      held += 8;
    }
    const rest = ~bits;
    const quotient = rest === 0 ? longestQuotient : Math.min(longestQuotient, 31 - Math.clz32(rest & -rest));
    let value: number;
    if (quotient === longestQuotient) {
      bits >>>= longestQuotient;
      held -= longestQuotient;
      while (held <= 24 && position < bytes.length) {
        bits |= (bytes[position++] ?? 0) << held;
        held += 8;
      }
      value = bits & ((1 << wholeBits) - 1);
      bits >>>= wholeBits;
      held -= wholeBits;
    } else {
      bits >>>= quotient + 1;
      held -= quotient + 1;
      while (held < parameter && position < bytes.length) {
        bits |= (bytes[position++] ?? 0) << held;
        held += 8;
      }
      value = (quotient << parameter) | (bits & mask);
      bits >>>= parameter;
      held -= parameter;
    }
    if (held < 0) throw new RangeError("the bytes end too early");
    const code = (middle ? base : last) + unzigzag(value);
    last = code;
    codes[offset + row] = code;
  }
  // Whole bytes that were taken in advance go back.
  reader.position = position - (held >>> 3);
}

const isSet = (bits: Uint8Array, index: number): boolean => (((bits[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 1;
