/** Draws from a seed, one stream for each purpose, so that one more draw for one thing changes nothing of another. */
import { type Random, randomInt, seededRandom } from "@sheaf/base";

export class Chance {
  readonly random: Random;

  /** @param purpose any words: streams of different purposes are unrelated */
  constructor(seed: number, purpose: string) {
    this.random = seededRandom(digest(`${seed} ${purpose}`));
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return high <= low ? low : low + randomInt(this.random, high - low + 1);
  }

  /** True in this share of draws, 0 … 1. */
  happens(share: number): boolean {
    return share > 0 && randomInt(this.random, 1_000_000) < share * 1_000_000;
  }

  /** @throws Error for an empty list */
  pick<T>(list: readonly T[]): T {
    const found = list[randomInt(this.random, list.length)];
    if (found === undefined) throw new Error("there is nothing to pick from");
    return found;
  }
}

/** FNV-1a over UTF-16 units, 32 bits. */
export function digest(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
