/**
 * Recomputes one chain, entry by entry and seal by seal, wherever they come from. Called by the verification, and before a file is made
 * or taken over. Knows no store and no files.
 */
import type { Secrets } from "../context.ts";
import { SealHash, ChainTies, type AuditSeal } from "./audit-seal.ts";

/** A piece of a chain in its order: a seal comes after the last entry under it. */
export type AuditItem =
  | { readonly kind: "entry"; readonly sequence: number; readonly text: string }
  | { readonly kind: "seal"; readonly seal: AuditSeal }
  /** Something that is neither. */
  | { readonly kind: "broken"; readonly problem: string };

export interface CheckOptions {
  readonly chain: string;
  readonly secrets: Secrets;
  readonly tell: (problem: string) => void;
  /** What lies before the first item: nothing, for a whole chain. */
  readonly after?: { readonly to: number; readonly hash: string };
}

export class ChainCheck {
  readonly #options: CheckOptions;
  #hash: SealHash;
  #previous: string;
  #sealedTo: number;
  #last: number;
  /** Gaps since the last seal. Behind the newest seal of a living chain numbers may still be under way, so they are told with the next seal. */
  #gaps: string[] = [];
  entries = 0;
  /** What this chain says of others. */
  readonly ties: ChainTies[] = [];

  constructor(options: CheckOptions) {
    this.#options = options;
    this.#previous = options.after?.hash ?? "";
    this.#sealedTo = options.after?.to ?? 0;
    this.#last = this.#sealedTo;
    this.#hash = new SealHash(this.#previous);
  }

  /** How far it is sealed. */
  get head(): { readonly to: number; readonly hash: string } {
    return { to: this.#sealedTo, hash: this.#previous };
  }
  get last(): number {
    return this.#last;
  }

  add(item: AuditItem): void {
    if (item.kind === "entry") this.#entry(item.sequence, item.text);
    else if (item.kind === "seal") this.#seal(item.seal);
    else this.#tell(item.problem);
  }

  /** Goes on behind a part that cannot be read or was told to be broken. */
  resume(head: { readonly to: number; readonly hash: string }): void {
    this.#previous = head.hash;
    this.#sealedTo = head.to;
    this.#last = head.to;
    this.#hash = new SealHash(head.hash);
    this.#gaps = [];
  }

  /** @param live whether entries without a seal may still be there */
  end(live: boolean): void {
    if (live) return;
    for (const gap of this.#gaps) this.#tell(gap);
    if (this.#last > this.#sealedTo) this.#tell(`entries ${this.#sealedTo + 1} to ${this.#last} have no seal although the chain has ended`);
  }

  #entry(sequence: number, text: string): void {
    this.entries += 1;
    if (sequence !== this.#last + 1) this.#gaps.push(`entries ${this.#last + 1} to ${sequence - 1} are missing`);
    this.#last = sequence;
    try {
      const event = JSON.parse(text) as { sequence?: unknown; action?: unknown; after?: unknown }; // each is looked at below
      if (event.sequence !== sequence) this.#tell(`entry ${sequence} calls itself ${String(event.sequence)}: it was moved`);
      if (event.action === "audit.begin" || event.action === "audit.checkpoint") this.#tie(sequence, event.after);
      else if (sequence === 1) this.#tell("its first entry does not say what was before it");
    } catch {
      this.#tell(`entry ${sequence} cannot be read`);
    }
    this.#hash.add(sequence, text);
  }

  #tie(sequence: number, after: unknown): void {
    const ties = ChainTies.safeParse(after);
    if (!ties.success) return this.#tell(`entry ${sequence} does not say what it knows of other chains`);
    this.ties.push(ties.data);
    if (sequence === 1 && ties.data.previousHash !== "") {
      this.#previous = ties.data.previousHash;
      this.#hash = new SealHash(this.#previous);
    }
  }

  #seal(seal: AuditSeal): void {
    const which = `the seal of entries ${seal.from} to ${seal.to}`;
    for (const gap of this.#gaps) this.#tell(gap);
    this.#gaps = [];
    if (this.#last < seal.to) this.#tell(`entries ${this.#last + 1} to ${seal.to} are sealed but missing`);
    if (seal.from !== this.#sealedTo + 1) this.#tell(`${which} does not follow the one before, which ends at ${this.#sealedTo}`);
    if (seal.previous !== this.#previous) this.#tell(`${which} does not hold the seal before it`);
    if (seal.hash !== this.#hash.hex()) this.#tell(`${which} does not fit: one of them was changed, added, removed or moved`);
    if (!this.#ours(seal)) this.#tell(`${which} was not made by this server`);
    this.#previous = seal.hash;
    this.#sealedTo = seal.to;
    this.#last = Math.max(this.#last, seal.to);
    this.#hash = new SealHash(this.#previous);
  }

  #ours(seal: AuditSeal): boolean {
    try {
      return this.#options.secrets.open(seal.proof) === seal.hash;
    } catch {
      return false; // not made with this server's key
    }
  }

  #tell(problem: string): void {
    this.#options.tell(`chain ${this.#options.chain}: ${problem}`);
  }
}
