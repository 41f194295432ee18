/** Randomness as a port: identifiers, tokens and jitter come from here, so that a simulation replays from its seed. */
export interface Random {
  bytes(length: number): Uint8Array;
}

/** A whole number in [0, bound). `bound` at most 2^32. The modulo bias is below 2^-16 for the bounds used here. */
export function randomInt(random: Random, bound: number): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = random.bytes(6);
  return (((a * 256 + b) * 256 + c) * 2 ** 24 + ((d * 256 + e) * 256 + f)) % bound;
}

/**
 * A UUID of version 7 (RFC 9562, 5.7): 48 bits of Unix time in ms, then 74 random bits. Sorts by time of creation.
 */
export function uuidv7(nowMs: number, random: Random): string {
  const bytes = random.bytes(16);
  let time = nowMs;
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const hex = toHex(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const hexOfByte: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += hexOfByte[byte];
  return text;
}
