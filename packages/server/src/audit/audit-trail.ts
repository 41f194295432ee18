/**
 * The audit trail's writing side. Each start of the server begins a chain of its own; entries are numbered from 1 without a gap and are
 * written by whoever makes the change, in the change's own transaction; the trail hands out numbers, fills those that came to nothing, and
 * seals what is there every second or hundred entries. Called by the record writer and the API; never changes an entry.
 */
import { uuidv7, type Timer } from "@sheaf/base";
import { auditKey, auditSealKey } from "@sheaf/model";
import type { Entry, Operation, Store } from "@sheaf/store";
import type { ServerContext } from "../context.ts";
import { auditText, type AuditFields } from "./audit-entry.ts";
import { AuditHead, SealHash, type AuditSeal } from "./audit-seal.ts";

const sealEveryMs = 1000;
const sealEveryEntries = 100;
const newestChainKey = "a/newest";
export const auditHeadKey = (chain: string): string => `a/${chain}/head`;
export const auditEntriesPrefix = (chain: string): string => `a/${chain}/e/`;
export const auditSealsPrefix = (chain: string): string => `a/${chain}/s/`;

/** A number handed out: the entry's key and text, to be put by the change's transaction. */
export interface AuditSlot {
  readonly sequence: number;
  readonly key: string;
}

export class AuditTrail {
  readonly #context: ServerContext;
  readonly #store: Store;
  #chain = "";
  #next = 1;
  #sealed = 0;
  #hash = "";
  /** Committed, not yet sealed. */
  readonly #unsealed = new Map<number, string>();
  /** Numbers that came to nothing and could not be filled at once. */
  readonly #holes = new Map<number, AuditFields>();
  #sealing: Promise<void> | null = null;
  #timer: Timer | null = null;
  #open = false;

  constructor(context: ServerContext) {
    this.#context = context;
    this.#store = context.store;
  }

  /** Ends the chain of the run before and begins a new one, whose first entry holds the old one's last seal. */
  async start(): Promise<void> {
    const { clock, random } = this.#context;
    const newest = await this.#store.get(newestChainKey);
    const previousChain = newest?.value ?? "";
    const previous = previousChain === "" ? { to: 0, hash: "" } : await this.#endChain(previousChain);
    this.#chain = uuidv7(clock.now(), random);
    this.#hash = previous.hash;
    const slot = this.slot();
    const text = this.text(slot, {
      actor: "system",
      from: "local",
      action: "audit.begin",
      target: `audit/${this.#chain}`,
      result: "done",
      after: JSON.stringify({ chain: this.#chain, previousChain, previousHash: previous.hash, previousTo: previous.to }),
    });
    await this.#store.transact({
      compare: [],
      then: [
        { put: newestChainKey, value: this.#chain },
        { put: auditHeadKey(this.#chain), value: JSON.stringify({ to: 0, hash: previous.hash }) },
        { put: slot.key, value: text },
      ],
    });
    this.committed(slot, text);
    this.#open = true;
    this.#sealLater();
  }

  /** Seals what is there. The chain is ended at the next start: what is written until then belongs to it. */
  async stop(): Promise<void> {
    this.#open = false;
    this.#timer?.cancel();
    await this.seal();
  }

  get chain(): string {
    return this.#chain;
  }
  /** Highest number handed out in this chain. */
  get last(): number {
    return this.#next - 1;
  }
  /** What the newest seal must be: an audit trail cut short behind our back is told apart by it. */
  get head(): AuditHead {
    return { to: this.#sealed, hash: this.#hash };
  }

  slot(): AuditSlot {
    const sequence = this.#next;
    this.#next += 1;
    return { sequence, key: auditKey(this.#chain, sequence) };
  }

  text(slot: AuditSlot, fields: AuditFields): string {
    return auditText(slot.sequence, this.#context.clock.now(), fields);
  }

  /** The entry is durable. */
  committed(slot: AuditSlot, text: string): void {
    this.#unsealed.set(slot.sequence, text);
    if (this.#unsealed.size >= sealEveryEntries) void this.seal();
  }

  /** The change was not made: its number is filled with the refusal, so that the chain has no gap. */
  async unused(slot: AuditSlot, fields: AuditFields): Promise<void> {
    await this.claim(slot, fields).catch(() => this.#holes.set(slot.sequence, fields));
  }

  /**
   * Settles a number whose transaction may or may not have been committed.
   * @returns the entry that is there: the change's own when it was made, else the one given here
   * @throws StoreError where the store does not answer now either
   */
  async claim(slot: AuditSlot, fields: AuditFields): Promise<{ readonly made: boolean }> {
    const text = this.text(slot, fields);
    const result = await this.#store.transact({ compare: [{ key: slot.key, createRevision: 0 }], then: [{ put: slot.key, value: text }] });
    const there = result.current.get(slot.key);
    this.#holes.delete(slot.sequence);
    this.committed(slot, result.succeeded ? text : (there?.value ?? ""));
    return { made: !result.succeeded };
  }

  /** Numbers with unknown fate are settled by the sealer, when the store answers again. */
  unsettled(slot: AuditSlot, fields: AuditFields): void {
    this.#holes.set(slot.sequence, fields);
  }

  /** An entry on its own, with no change beside it. */
  async record(fields: AuditFields, also: readonly Operation[] = []): Promise<void> {
    const slot = this.slot();
    const text = this.text(slot, fields);
    try {
      await this.#store.transact({ compare: [{ key: slot.key, createRevision: 0 }], then: [...also, { put: slot.key, value: text }] });
    } catch (error) {
      this.unsettled(slot, { ...fields, result: "failed", code: "unavailable" });
      throw error;
    }
    this.committed(slot, text);
  }

  /** Seals every entry up to the first one still under way. */
  seal(): Promise<void> {
    this.#sealing ??= this.#sealAll().finally(() => {
      this.#sealing = null;
    });
    return this.#sealing;
  }

  async #sealAll(): Promise<void> {
    try {
      for (const [sequence, fields] of this.#holes) await this.claim({ sequence, key: auditKey(this.#chain, sequence) }, fields);
      while (this.#unsealed.has(this.#sealed + 1)) await this.#sealSome();
    } catch (error) {
      this.#context.logger.warn({ error: String(error) }, "the audit trail could not be sealed now; tried again in a second");
    }
  }

  async #sealSome(): Promise<void> {
    const from = this.#sealed + 1;
    const hash = new SealHash(this.#hash);
    let to = this.#sealed;
    for (let text = this.#unsealed.get(from); text !== undefined && to - from < 2000; text = this.#unsealed.get(to + 1)) {
      to += 1;
      hash.add(to, text);
    }
    const seal = this.#makeSeal(from, to, this.#hash, hash.hex());
    await this.#store.transact({ compare: [], then: sealOperations(this.#chain, seal) });
    for (let sequence = from; sequence <= to; sequence += 1) this.#unsealed.delete(sequence);
    this.#sealed = to;
    this.#hash = seal.hash;
  }

  #makeSeal(from: number, to: number, previous: string, hash: string): AuditSeal {
    return { from, to, previous, hash, proof: this.#context.secrets.seal(hash) };
  }

  /** Seals what a run before left unsealed (it was killed), and says where that chain ends. */
  async #endChain(chain: string): Promise<AuditHead> {
    const stored = await this.#store.get(auditHeadKey(chain));
    const head = stored === null ? { to: 0, hash: "" } : AuditHead.parse(JSON.parse(stored.value));
    const hash = new SealHash(head.hash);
    let to = head.to;
    let after = auditKey(chain, head.to);
    for (;;) {
      const page = await this.#store.range({ prefix: auditEntriesPrefix(chain), after });
      for (const entry of page.entries) {
        // A number that was under way when the server died was never committed: it is filled, so that the chain has no gap.
        for (const sequence = sequenceOf(entry); to + 1 < sequence; to += 1) hash.add(to + 1, await this.#fillGap(chain, to + 1));
        to += 1;
        hash.add(to, entry.value);
        after = entry.key;
      }
      if (!page.more) break;
    }
    if (to === head.to) return head;
    const seal = { ...this.#makeSeal(head.to + 1, to, head.hash, hash.hex()), final: true };
    await this.#store.transact({ compare: [], then: sealOperations(chain, seal) });
    return { to, hash: seal.hash };
  }

  async #fillGap(chain: string, sequence: number): Promise<string> {
    const text = auditText(sequence, this.#context.clock.now(), {
      actor: "system",
      from: "local",
      action: "audit.fill",
      target: `audit/${chain}`,
      result: "failed",
      code: "unavailable",
    });
    await this.#store.transact({
      compare: [{ key: auditKey(chain, sequence), createRevision: 0 }],
      then: [{ put: auditKey(chain, sequence), value: text }],
    });
    return text;
  }

  #sealLater(): void {
    this.#timer = this.#context.clock.setTimer(sealEveryMs, () => {
      void this.seal().then(() => {
        if (this.#open) this.#sealLater();
      });
    });
  }
}

const sequenceOf = (entry: Entry): number => Number(entry.key.slice(-12));

function sealOperations(chain: string, seal: AuditSeal): Operation[] {
  return [
    { put: auditSealKey(chain, seal.to), value: JSON.stringify(seal) },
    { put: auditHeadKey(chain), value: JSON.stringify({ to: seal.to, hash: seal.hash }) },
  ];
}
