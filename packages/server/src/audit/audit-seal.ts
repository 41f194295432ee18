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
  /** Hash of the seal before; empty for the first one. */
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
export const AuditHead = z.looseObject({
  to: z.int().min(0),
  hash: z.string(),
  /** Whose chain it is: this server writes it, and moves it into its files. */
  server: z.string().default("local"),
});
export type AuditHead = z.infer<typeof AuditHead>;

/** What one chain says of another: there it stood, sealed, when this was written. */
export const KnownChain = z.looseObject({ chain: z.string(), to: z.int().min(0), hash: z.string() });
export type KnownChain = z.infer<typeof KnownChain>;

/** `after` of an entry that ties chains together: `audit.begin` (the first of a chain) and `audit.checkpoint`. */
export const ChainTies = z.looseObject({
  knows: z.array(KnownChain).default([]),
  /** A backup was restored: what `knows` does not name, or names shorter than it was, went with the store that was replaced. */
  restoredFrom: z.string().optional(),
  // As chains began before there were several at once: one predecessor, whose last hash the first seal held.
  previousChain: z.string().default(""),
  previousHash: z.string().default(""),
  previousTo: z.int().default(0),
});
export type ChainTies = z.infer<typeof ChainTies>;

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
