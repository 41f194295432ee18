/** Reads what a ByteWriter wrote. @throws RangeError where the bytes end too early: they are checked by checksums before they come here */
export class ByteReader {
  readonly bytes: Uint8Array;
  position: number;

  constructor(bytes: Uint8Array, position = 0) {
    this.bytes = bytes;
    this.position = position;
  }

  get left(): number {
    return this.bytes.length - this.position;
  }

  byte(): number {
    const value = this.bytes[this.position];
    if (value === undefined) throw new RangeError("the bytes end too early");
    this.position += 1;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new RangeError("a number of too many bytes");
  }

  take(length: number): Uint8Array {
    if (length > this.left) throw new RangeError("the bytes end too early");
    this.position += length;
    return this.bytes.subarray(this.position - length, this.position);
  }

  skip(length: number): void {
    if (length > this.left) throw new RangeError("the bytes end too early");
    this.position += length;
  }

  uint32(): number {
    const at = this.position;
    this.skip(4);
    const { bytes } = this;
    return ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
  }
}
