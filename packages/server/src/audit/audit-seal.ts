/**
 * Seals: every so many entries of a chain are bound together by a hash that includes the seal before. Pure but for hashing; called by
 * the trail that writes seals and by the verification that recomputes them.
 */
import { createHash } from "node:crypto";
import { z } from "zod";

export const AuditSeal = z.strictObject({
  /** First and last sequence under this seal. */
  from: z.int().min(1),
  to: z.int().min(1),
  /** Hash of the seal before; of the last seal of the chain before for the first one; empty for the very first. */
  previous: z.string(),
  /** sha256 over `previous` and the stored texts of the entries. */
  hash: z.string(),
  /** The hash, encrypted under the server's key, which is not in the store: nobody without it can make a seal. */
  proof: z.string(),
  /** True on the last seal of a chain that has ended. */
  final: z.boolean().optional(),
});
export type AuditSeal = z.infer<typeof AuditSeal>;

/** Where a chain stands: kept beside it, so that a start need not read the whole chain. */
export const AuditHead = z.strictObject({ to: z.int().min(0), hash: z.string() });
export type AuditHead = z.infer<typeof AuditHead>;

/** What binds a chain to the one before: the first entry's `after`. */
export const ChainStart = z.looseObject({ chain: z.string(), previousChain: z.string(), previousHash: z.string(), previousTo: z.int() });
export type ChainStart = z.infer<typeof ChainStart>;

export class SealHash {
  readonly #hash = createHash("sha256");

  constructor(previous: string) {
    this.#hash.update(`${previous}\n`);
  }

  /** @param text the entry as it is stored */
  add(sequence: number, text: string): void {
    // The length keeps two entries from being read as one.
    this.#hash
      .update(`${sequence} ${Buffer.byteLength(text)}\n`)
      .update(text)
      .update("\n");
  }

  hex(): string {
    return this.#hash.digest("hex");
  }
}
