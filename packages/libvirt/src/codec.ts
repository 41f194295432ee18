/**
 * Codecs: values that know how a TypeScript type looks in XDR, and the means to put them together.
 * The procedure table is made of them. They hold no state and do no I/O.
 */
import { XdrError, XdrReader, XdrWriter } from "./xdr.ts";

export interface Codec<T> {
  /** The fewest bytes a value can take: lets a list be refused before it is built. */
  readonly minBytes: number;
  /** Throws `XdrError` when the value does not fit. */
  encode(writer: XdrWriter, value: T): void;
  /** Throws `XdrError` when the bytes are no such value. */
  decode(reader: XdrReader): T;
}

/** The TypeScript type a codec carries. */
export type Carried<C> = C extends Codec<infer T> ? T : never;

/** Upper bound of any string or XML text (libvirt's REMOTE_STRING_MAX), bytes. */
export const MAX_STRING_BYTES = 4_194_304;

/** 32-bit signed. XDR also writes `char` and `short` this way. */
export const int: Codec<number> = { minBytes: 4, encode: (writer, value) => writer.int(value), decode: (reader) => reader.int() };

/** 32-bit unsigned. */
export const uint: Codec<number> = { minBytes: 4, encode: (writer, value) => writer.uint(value), decode: (reader) => reader.uint() };

/** 64-bit signed. */
export const hyper: Codec<bigint> = { minBytes: 8, encode: (writer, value) => writer.hyper(value), decode: (reader) => reader.hyper() };

/** 64-bit unsigned. */
export const uhyper: Codec<bigint> = { minBytes: 8, encode: (writer, value) => writer.uhyper(value), decode: (reader) => reader.uhyper() };

/**
 * 64-bit unsigned on the wire, `number` here: for sizes, times in ms and bandwidths, which stay below 2^53. Writing refuses anything
 * else; reading never fails: libvirt's "unknown" or "unlimited" (close to 2^64) comes out as the nearest double, still a huge number.
 */
export const size: Codec<number> = { minBytes: 8, encode: (writer, value) => writer.size(value), decode: (reader) => reader.size() };

/** 64-bit signed on the wire, `number` here; as `size`, for seconds, offsets and counters that may be -1. */
export const signedSize: Codec<number> = {
  minBytes: 8,
  encode: (writer, value) => writer.signedSize(value),
  decode: (reader) => reader.signedSize(),
};

export const double: Codec<number> = { minBytes: 8, encode: (writer, value) => writer.double(value), decode: (reader) => reader.double() };

/** libvirt writes truth as an int; anything but 0 is true. */
export const flag: Codec<boolean> = { minBytes: 4, encode: (writer, value) => writer.int(value ? 1 : 0), decode: (reader) => reader.int() !== 0 };

/** Text that is always there (it may be empty). */
export const string: Codec<string> = {
  minBytes: 4,
  encode: (writer, value) => writer.string(value, MAX_STRING_BYTES),
  decode: (reader) => reader.string(MAX_STRING_BYTES),
};

/** Bytes with a length field. */
export function opaque(maxBytes: number): Codec<Uint8Array> {
  return { minBytes: 4, encode: (writer, value) => writer.opaque(value, maxBytes), decode: (reader) => reader.opaque(maxBytes) };
}

/** A C `char` array with a length: each character takes four bytes on the wire. Latin-1, ended by NUL where there is one. */
export function charArray(maxChars: number): Codec<string> {
  return {
    minBytes: 4,
    encode: (writer, value) => {
      if (value.length > maxChars) throw new XdrError(`${value.length} characters, at most ${maxChars} are allowed`);
      writer.uint(value.length);
      writeChars(writer, value, value.length);
    },
    decode: (reader) => readChars(reader, reader.count(maxChars, 4)),
  };
}

/** A C `char name[length]`: always `length` characters, four bytes each, padded with NUL. */
export function fixedCharArray(length: number): Codec<string> {
  return {
    minBytes: length * 4,
    encode: (writer, value) => {
      if (value.length > length) throw new XdrError(`${value.length} characters, at most ${length} are allowed`);
      writeChars(writer, value, length);
    },
    decode: (reader) => readChars(reader, length),
  };
}

function writeChars(writer: XdrWriter, value: string, length: number): void {
  for (let index = 0; index < length; index += 1) {
    const code = index < value.length ? value.charCodeAt(index) : 0;
    if (code > 0xff || (code === 0 && index < value.length)) throw new XdrError("only Latin-1 characters without NUL fit here");
    writer.int(code > 0x7f ? code - 0x100 : code);
  }
}

function readChars(reader: XdrReader, length: number): string {
  const codes: number[] = [];
  let ended = false;
  for (let index = 0; index < length; index += 1) {
    const code = reader.char();
    ended ||= code === 0;
    if (!ended) codes.push(code);
  }
  return codes.map((code) => String.fromCharCode(code)).join("");
}

/** A pointer in libvirt's terms: there or `null`. */
export function nullable<T>(inner: Codec<T>): Codec<T | null> {
  return {
    minBytes: 4,
    encode: (writer, value) => {
      writer.uint(value === null ? 0 : 1);
      if (value !== null) inner.encode(writer, value);
    },
    decode: (reader) => (reader.presence() ? inner.decode(reader) : null),
  };
}

export function list<T>(item: Codec<T>, maxItems: number): Codec<readonly T[]> {
  return {
    minBytes: 4,
    encode: (writer, values) => {
      if (values.length > maxItems) throw new XdrError(`${values.length} items, at most ${maxItems} are allowed`);
      writer.uint(values.length);
      for (const [index, value] of values.entries()) inside(index, () => item.encode(writer, value));
    },
    decode: (reader) => {
      const count = reader.count(maxItems, item.minBytes);
      const values: T[] = [];
      for (let index = 0; index < count; index += 1) values.push(inside(index, () => item.decode(reader)));
      return values;
    },
  };
}

/** The fields of a structure, in wire order. */
export type Fields = Readonly<Record<string, Codec<unknown>>>;
export type Structure<F extends Fields> = { readonly [K in keyof F]: Carried<F[K]> };

export function struct<const F extends Fields>(fields: F): Codec<Structure<F>> {
  const entries = Object.entries(fields);
  return {
    minBytes: entries.reduce((sum, [, codec]) => sum + codec.minBytes, 0),
    encode: (writer, value) => {
      const values: Record<string, unknown> = value;
      for (const [name, codec] of entries) inside(name, () => codec.encode(writer, values[name]));
    },
    decode: (reader) => {
      const values: Record<string, unknown> = {};
      for (const [name, codec] of entries) values[name] = inside(name, () => codec.decode(reader));
      // The loop above filled exactly the fields of F, each by its own codec.
      return values as Structure<F>;
    },
  };
}

/** `codec`'s wire form under another type. */
export function mapped<W, T>(codec: Codec<W>, toWire: (value: T) => W, fromWire: (wire: W) => T): Codec<T> {
  return {
    minBytes: codec.minBytes,
    encode: (writer, value) => codec.encode(writer, toWire(value)),
    decode: (reader) => fromWire(codec.decode(reader)),
  };
}

export function encodeValue<T>(codec: Codec<T>, value: T): Uint8Array {
  const writer = new XdrWriter();
  codec.encode(writer, value);
  return writer.bytes();
}

/** Decodes all of `bytes`; something left over is an error. */
export function decodeValue<T>(codec: Codec<T>, bytes: Uint8Array): T {
  const reader = new XdrReader(bytes);
  const value = codec.decode(reader);
  reader.end();
  return value;
}

function inside<T>(segment: string | number, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof XdrError) throw error.within(segment);
    if (error instanceof TypeError) throw new XdrError(`the value has the wrong type (${error.message})`, [segment]);
    throw error;
  }
}
