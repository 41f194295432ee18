/**
 * XDR (RFC 4506): the byte form of everything libvirt's RPC carries. Big-endian, every item padded to four bytes.
 * Used by the codecs alone. It must never allocate more than the bytes at hand justify, whatever a length field claims.
 */

/** A value that cannot be written, or bytes that are not what the codec expects. `path` says which field. */
export class XdrError extends Error {
  override readonly name = "XdrError";
  readonly path: readonly (string | number)[];

  constructor(message: string, path: readonly (string | number)[] = []) {
    super(path.length === 0 ? message : `${path.join(".")}: ${message}`);
    this.path = path;
  }

  /** The same error, one level further out. */
  within(segment: string | number): XdrError {
    const bare = this.path.length === 0 ? this.message : this.message.slice(this.path.join(".").length + 2);
    return new XdrError(bare, [segment, ...this.path]);
  }
}

const padding = (length: number) => (4 - (length & 3)) & 3;

/** Reads XDR items one after the other. Throws `XdrError` instead of reading past the end. */
export class XdrReader {
  readonly #bytes: Buffer;
  #offset = 0;

  /** The bytes are read in place and must not change meanwhile. What is returned is always a copy. */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  #take(length: number): number {
    if (length > this.remaining) throw new XdrError(`needs ${length} bytes, ${this.remaining} are left`);
    const start = this.#offset;
    this.#offset += length;
    return start;
  }

  int(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  uint(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  hyper(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  uhyper(): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8));
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  /** An unsigned 64-bit number as the nearest double. */
  size(): number {
    return Number(this.uhyper());
  }

  /** A signed 64-bit number as the nearest double. */
  signedSize(): number {
    return Number(this.hyper());
  }

  /** Whether something optional follows. */
  presence(): boolean {
    const present = this.uint();
    if (present > 1) throw new XdrError(`${present} is neither 0 (absent) nor 1 (present)`);
    return present === 1;
  }

  /** The number, from 1 to `last`, that says which kind of value follows. */
  discriminant(last: number): number {
    const number = this.int();
    if (number < 1 || number > last) throw new XdrError(`${number} is no kind of value, there are 1 to ${last}`);
    return number;
  }

  /** A C character: four bytes of which one counts. */
  char(): number {
    return this.int() & 0xff;
  }

  /** Exactly `length` bytes, without a length field. */
  fixedOpaque(length: number): Uint8Array {
    const start = this.#take(length + padding(length));
    return new Uint8Array(this.#bytes.subarray(start, start + length));
  }

  opaque(maxBytes: number): Uint8Array {
    return this.fixedOpaque(this.#length(maxBytes));
  }

  /** UTF-8; what is not valid UTF-8 comes out as U+FFFD, because libvirt passes on what guests and file names hold. */
  string(maxBytes: number): string {
    const length = this.#length(maxBytes);
    const start = this.#take(length + padding(length));
    return this.#bytes.toString("utf8", start, start + length);
  }

  /** The count of a list whose items take at least `minItemBytes` each: a count that cannot fit is refused before anything is built. */
  count(maxItems: number, minItemBytes: number): number {
    const count = this.uint();
    if (count > maxItems) throw new XdrError(`${count} items, at most ${maxItems} are allowed`);
    if (count * minItemBytes > this.remaining) throw new XdrError(`${count} items need ${count * minItemBytes} bytes, ${this.remaining} are left`);
    return count;
  }

  /** Fails when something is left: then the codec and the sender do not mean the same structure. */
  end(): void {
    if (this.remaining > 0) throw new XdrError(`${this.remaining} bytes are left over`);
  }

  #length(maxBytes: number): number {
    const length = this.uint();
    if (length > maxBytes) throw new XdrError(`${length} bytes, at most ${maxBytes} are allowed`);
    return length;
  }
}

/** Writes XDR items one after the other into a buffer that grows. */
export class XdrWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#bytes = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written so far. Shares memory with the writer: use it once writing is over. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(length: number): number {
    const start = this.#length;
    const needed = start + length;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
    }
    this.#length = needed;
    return start;
  }

  int(value: number): void {
    if (!Number.isInteger(value) || value < -0x80000000 || value > 0x7fffffff) throw new XdrError(`${value} is not a 32-bit integer`);
    const start = this.#grow(4);
    this.#bytes.writeInt32BE(value, start);
  }

  uint(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) throw new XdrError(`${value} is not an unsigned 32-bit integer`);
    const start = this.#grow(4);
    this.#bytes.writeUInt32BE(value, start);
  }

  hyper(value: bigint): void {
    if (BigInt.asIntN(64, value) !== value) throw new XdrError(`${value} is not a 64-bit integer`);
    const start = this.#grow(8);
    this.#bytes.writeBigInt64BE(value, start);
  }

  uhyper(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value) throw new XdrError(`${value} is not an unsigned 64-bit integer`);
    const start = this.#grow(8);
    this.#bytes.writeBigUInt64BE(value, start);
  }

  size(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new XdrError(`${value} is not a whole number between 0 and 2^53 - 1`);
    this.uhyper(BigInt(value));
  }

  signedSize(value: number): void {
    if (!Number.isSafeInteger(value)) throw new XdrError(`${value} is not a whole number between -2^53 + 1 and 2^53 - 1`);
    this.hyper(BigInt(value));
  }

  double(value: number): void {
    if (typeof value !== "number") throw new XdrError(`${String(value)} is not a number`);
    const start = this.#grow(8);
    this.#bytes.writeDoubleBE(value, start);
  }

  fixedOpaque(value: Uint8Array, length: number): void {
    if (value.byteLength !== length) throw new XdrError(`${value.byteLength} bytes instead of ${length}`);
    const pad = padding(length);
    const start = this.#grow(length + pad);
    this.#bytes.set(value, start);
    this.#bytes.fill(0, start + length, start + length + pad);
  }

  opaque(value: Uint8Array, maxBytes: number): void {
    if (value.byteLength > maxBytes) throw new XdrError(`${value.byteLength} bytes, at most ${maxBytes} are allowed`);
    this.uint(value.byteLength);
    this.fixedOpaque(value, value.byteLength);
  }

  /** Refuses NUL (the other side is C: the rest would be lost silently) and lone surrogates (they have no UTF-8 form). */
  string(value: string, maxBytes: number): void {
    if (value.includes("\0")) throw new XdrError("a string for libvirt must not hold a NUL character");
    if (!value.isWellFormed()) throw new XdrError("the string is not well-formed Unicode (lone surrogate)");
    this.opaque(Buffer.from(value, "utf8"), maxBytes);
  }
}
