/** The operating system's randomness behind the `Random` port: fit for keys and tokens. Handed out by `main.ts`. */
import { randomFillSync } from "node:crypto";
import type { Random } from "@sheaf/base";

/** Fetched at once: a call for sixteen bytes costs as much as one for thousands, and each creation asks for several. */
const poolBytes = 4096;
const largestFromPool = 256;

class SystemRandom implements Random {
  readonly #pool = new Uint8Array(poolBytes);
  #at = poolBytes;

  bytes(length: number): Uint8Array {
    if (length > largestFromPool) return randomFillSync(new Uint8Array(length));
    if (this.#at + length > poolBytes) {
      randomFillSync(this.#pool);
      this.#at = 0;
    }
    const bytes = this.#pool.slice(this.#at, this.#at + length);
    // What was handed out is nowhere else: it may be a key.
    this.#pool.fill(0, this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }
}

export const systemRandom: Random = new SystemRandom();
