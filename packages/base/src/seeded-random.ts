/**
 * Randomness that replays from a seed: for the simulator and tests. Never for secrets. The generator is sfc32 (Chris Doty-Humphrey,
 * PractRand), whose period is at least 2^32.
 */
import type { Random } from "./random.ts";

/** @param seed any whole number; its lower 32 bits count */
export function seededRandom(seed: number): Random {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // Seeds that differ in one bit give unrelated numbers only after some rounds.
  for (let round = 0; round < 15; round += 1) next();
  return {
    bytes: (length) => {
      const bytes = new Uint8Array(length);
      let word = 0;
      for (let index = 0; index < length; index += 1) {
        word = index % 4 === 0 ? next() : word >>> 8;
        bytes[index] = word & 0xff;
      }
      return bytes;
    },
  };
}
