/** Bytes that are put together: grows when it must and is used again, so that the steady state makes no garbage. */
export class ByteWriter {
  bytes: Uint8Array;
  length = 0;

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity);
  }

  get written(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  reset(): void {
    this.length = 0;
  }

  /** Room for `more` bytes behind what is written. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.written);
    this.bytes = grown;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** LEB128, of 0 … 2³²−1. */
  varint(value: number): void {
    this.reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.bytes[this.length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.length++] = rest;
  }

  append(piece: Uint8Array): void {
    this.reserve(piece.length);
    this.bytes.set(piece, this.length);
    this.length += piece.length;
  }

  /** Little-endian, at a place that is written already. */
  setUint32(at: number, value: number): void {
    for (let index = 0; index < 4; index += 1) this.bytes[at + index] = (value >>> (8 * index)) & 0xff;
  }

  uint32(value: number): void {
    this.reserve(4);
    this.length += 4;
    this.setUint32(this.length - 4, value);
  }
}
