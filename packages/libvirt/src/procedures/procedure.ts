/**
 * What one entry of the procedure table is. The files beside this one are the table, split by theme, written by hand from
 * libvirt's published protocol description (remote_protocol.x and qemu_protocol.x, numbers up to libvirt 9.10).
 */
import { type Codec, type Fields, type Structure, struct } from "../codec.ts";

export const REMOTE_PROGRAM = 0x20008086;
export const QEMU_PROGRAM = 0x20008087;

/** Upper bound of any list. What a list may really allocate is bounded by the bytes that arrived. */
export const MAX_ITEMS = 262_144;

/** Which way data flows after the reply: `upload` from us, `download` to us, `both` for consoles. */
export type StreamDirection = "none" | "upload" | "download" | "both";

export interface ProcedureOptions {
  readonly stream?: StreamDirection;
  /** May take longer than a moment even when all is well (starts, saves, migrates, copies): gets a connection of its own. */
  readonly long?: boolean;
}

export interface Definition<A, R> {
  readonly number: number;
  readonly args: Codec<A>;
  readonly reply: Codec<R>;
  readonly options: ProcedureOptions;
}

/** An entry of the table: everything needed to make the call and to understand its answer. */
export interface Procedure<A = unknown, R = unknown> {
  /** libvirt's name, for example `DOMAIN_GET_XML_DESC`. */
  readonly name: string;
  readonly program: number;
  readonly number: number;
  readonly args: Codec<A>;
  readonly reply: Codec<R>;
  readonly stream: StreamDirection;
  readonly long: boolean;
}

/** One definition: number, arguments and reply in wire order. */
export function define<const A extends Fields, const R extends Fields>(
  number: number,
  args: A,
  reply: R,
  options: ProcedureOptions = {},
): Definition<Structure<A>, Structure<R>> {
  return { number, args: struct(args), reply: struct(reply), options };
}

export type Table<D> = { readonly [K in keyof D]: D[K] extends Definition<infer A, infer R> ? Procedure<A, R> : never };

/** Turns definitions into procedures: the key becomes the name, `domainGetXmlDesc` → `DOMAIN_GET_XML_DESC`. */
export function table<const D extends Readonly<Record<string, Definition<unknown, unknown>>>>(program: number, definitions: D): Table<D> {
  const procedures: Record<string, Procedure> = {};
  for (const [key, { number, args, reply, options }] of Object.entries(definitions)) {
    const name = key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
    procedures[key] = { name, program, number, args, reply, stream: options.stream ?? "none", long: options.long ?? false };
  }
  // Every key of D got the procedure of its own definition.
  return procedures as Table<D>;
}
