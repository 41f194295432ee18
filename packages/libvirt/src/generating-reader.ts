/** For tests: a reader that makes values up instead of reading them. Decoding with it yields an arbitrary value of any codec. */
import { XdrReader } from "./xdr.ts";

/** A source of randomness with sensible edges. */
export interface Draw {
  int(min: number, max: number): number;
  big(min: bigint, max: bigint): bigint;
  text(maxLength: number): string;
}

export class GeneratingReader extends XdrReader {
  readonly #draw: Draw;
  #depth = 0;

  constructor(draw: Draw) {
    super(new Uint8Array(0));
    this.#draw = draw;
  }

  override int(): number {
    return this.#draw.int(-0x80000000, 0x7fffffff);
  }

  override uint(): number {
    return this.#draw.int(0, 0xffffffff);
  }

  override hyper(): bigint {
    return this.#draw.big(-(2n ** 63n), 2n ** 63n - 1n);
  }

  override uhyper(): bigint {
    return this.#draw.big(0n, 2n ** 64n - 1n);
  }

  override size(): number {
    return this.#draw.int(0, Number.MAX_SAFE_INTEGER);
  }

  override signedSize(): number {
    return this.#draw.int(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  }

  override double(): number {
    return this.#draw.int(-1_000_000, 1_000_000) / 128;
  }

  override presence(): boolean {
    return this.#draw.int(0, 1) === 1;
  }

  override discriminant(last: number): number {
    return this.#draw.int(1, last);
  }

  override char(): number {
    return this.#draw.int(1, 255);
  }

  override fixedOpaque(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#draw.int(0, 255));
  }

  override opaque(maxBytes: number): Uint8Array {
    return this.fixedOpaque(this.#draw.int(0, Math.min(maxBytes, 9)));
  }

  override string(maxBytes: number): string {
    return this.#draw.text(Math.min(maxBytes, 12));
  }

  /** Short lists, and shorter ones the more there were. */
  override count(maxItems: number): number {
    this.#depth += 1;
    return this.#draw.int(0, Math.min(maxItems, Math.max(0, 4 - Math.floor(this.#depth / 4))));
  }
}

/** Repeatable randomness from a seed (mulberry32), for tests too fast for fast-check. */
export function seededDraw(seed: number): Draw & { next(): number } {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const int = (min: number, max: number) => min + Math.floor((next() / 0x1_0000_0000) * (max - min + 1));
  return {
    next,
    int,
    big: (min, max) => min + (((BigInt(next()) << 32n) | BigInt(next())) % (max - min + 1n)),
    text: (maxLength) => Array.from({ length: int(0, maxLength) }, () => String.fromCharCode(int(32, 0x2ff))).join(""),
  };
}
