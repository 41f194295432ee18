/**
 * The audit trail's writing side. Each start of a server begins a chain of its own; entries are numbered from 1 without a gap and are
 * written by whoever makes the change, in the change's own transaction; the trail hands out numbers, fills those that came to nothing, and
 * seals what is there every second or hundred entries. Its first entry, and now and then another, says how far the other chains are sealed:
 * that ties them together. Called by the record writer and the API; never changes an entry.
 */
import { uuidv7, type Timer } from "@sheaf/base";
import { auditHeadKey, auditIncarnationKey, auditKey } from "@sheaf/model";
import type { Operation, Store } from "@sheaf/store";
import type { AuditContext } from "../context.ts";
import { auditText, type AuditFields } from "./audit-entry.ts";
import { AuditHead, SealHash, type KnownChain } from "./audit-seal.ts";
import { auditChains, headOf } from "./audit-source.ts";
import { headUnchanged, sealOperations, sealTail } from "./audit-tail.ts";

const sealEveryMs = 1000;
const sealEveryEntries = 100;
/** What another server has not sealed by then is sealed by whoever sees it. */
const othersUnsealedMs = 60_000;
/** Chains named in one entry, the newest: the others were named when these began. */
const knownLimit = 300;

/** A number handed out: the entry's key and text, to be put by the change's transaction. */
export interface AuditSlot {
  readonly sequence: number;
  readonly key: string;
}

export class AuditTrail {
  readonly #context: AuditContext;
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
  /** How far other chains were when this one last said so. */
  readonly #told = new Map<string, number>();
  #open = false;

  constructor(context: AuditContext) {
    this.#context = context;
    this.#store = context.store;
  }

  /** Seals what earlier runs left, and begins a new chain, whose first entry says how far all others are sealed. */
  async start(): Promise<void> {
    const { clock, random, serverName } = this.#context;
    const { incarnation } = this.#store;
    const begunFor = await this.#store.get(auditIncarnationKey);
    const chains = await auditChains(this.#store, await this.#store.revision());
    // An empty store beside files is a store that was lost.
    const restored = begunFor === null ? chains.length > 0 && chains.every(({ stored }) => !stored) : begunFor.value !== incarnation;
    const knows = await this.#sealOthers(restored);
    this.#chain = uuidv7(clock.now(), random);
    const head = this.#headText();
    const slot = this.slot();
    const text = this.text(slot, {
      actor: "system",
      from: "local",
      action: "audit.begin",
      target: `audit/${this.#chain}`,
      result: "done",
      after: JSON.stringify({
        chain: this.#chain,
        server: serverName,
        incarnation,
        ...(restored ? { restoredFrom: begunFor?.value ?? "(nothing)" } : {}),
        knows,
      }),
    });
    await this.#store.transact({
      compare: [],
      then: [
        { put: auditIncarnationKey, value: incarnation },
        { put: auditHeadKey(this.#chain), value: head },
        { put: slot.key, value: text },
      ],
    });
    this.committed(slot, text);
    for (const { chain, to } of knows) this.#told.set(chain, to);
    this.#open = true;
    this.#sealLater();
  }

  /** Seals the chains of other servers where they fell silent, and says in this chain how far they are. Called now and then. */
  async checkpoint(): Promise<void> {
    const knows = (await this.#sealOthers(false)).filter(({ chain, to }) => (this.#told.get(chain) ?? 0) < to);
    if (knows.length === 0) return;
    await this.record({
      actor: "system",
      from: "local",
      action: "audit.checkpoint",
      target: `audit/${this.#chain}`,
      result: "done",
      after: JSON.stringify({ knows }),
    });
    for (const { chain, to } of knows) this.#told.set(chain, to);
  }

  /** @param all chains that lie in files altogether too */
  async #sealOthers(all: boolean): Promise<KnownChain[]> {
    const { clock, serverName } = this.#context;
    const revision = await this.#store.revision();
    const others = (await auditChains(this.#store, revision)).filter(({ chain, stored }) => chain !== this.#chain && (stored || all));
    const knows: KnownChain[] = [];
    for (const parts of others) {
      const mine = (await headOf(this.#store, parts)).head.server === serverName;
      const { to, hash } = await sealTail(this.#context, parts, mine ? undefined : clock.now() - othersUnsealedMs);
      knows.push({ chain: parts.chain, to, hash });
    }
    return knows.slice(-knownLimit);
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
  get head(): Pick<AuditHead, "to" | "hash"> {
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
    for (;;) {
      const slot = this.slot();
      const text = this.text(slot, fields);
      try {
        const result = await this.#store.transact({
          compare: [{ key: slot.key, createRevision: 0 }],
          then: [...also, { put: slot.key, value: text }],
        });
        if (result.succeeded) return this.committed(slot, text);
      } catch (error) {
        this.unsettled(slot, { ...fields, result: "failed", code: "unavailable" });
        throw error;
      }
      await this.unused(slot, fields);
    }
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
    const { secrets, serverName } = this.#context;
    const seal = { from, to, previous: this.#hash, hash: hash.hex() };
    const { succeeded } = await this.#store.transact({
      compare: [headUnchanged(this.#chain, this.#headText())],
      then: sealOperations(this.#chain, { ...seal, proof: secrets.seal(seal.hash) }, { to, hash: seal.hash, server: serverName }),
    });
    if (!succeeded) return this.#catchUp();
    for (let sequence = from; sequence <= to; sequence += 1) this.#unsealed.delete(sequence);
    this.#sealed = to;
    this.#hash = seal.hash;
  }

  #headText(): string {
    return JSON.stringify({ to: this.#sealed, hash: this.#hash, server: this.#context.serverName });
  }

  /** Another server took this one for dead and sealed in its place: its seals count. */
  async #catchUp(): Promise<void> {
    const entry = await this.#store.get(auditHeadKey(this.#chain));
    const head = AuditHead.parse(JSON.parse(entry?.value ?? "{}"));
    for (let sequence = this.#sealed + 1; sequence <= head.to; sequence += 1) this.#unsealed.delete(sequence);
    this.#sealed = head.to;
    this.#hash = head.hash;
  }

  #sealLater(): void {
    this.#timer = this.#context.clock.setTimer(sealEveryMs, () => {
      void this.seal().then(() => {
        if (this.#open) this.#sealLater();
      });
    });
  }
}
