/**
 * Commits drafts: each with its audit entry and idempotency key in one transaction; tries again when somebody else was quicker with
 * something that does not matter, refuses when it does, and settles what a store that answered late may have done. The only way a
 * request changes the store.
 */
import { hash } from "node:crypto";
import type { ProblemCode } from "@sheaf/model";
import { SheafError, idempotencyKey } from "@sheaf/model";
import { StoreError, type Entry, type TransactionResult } from "@sheaf/store";
import type { AuditFields } from "../audit/audit-entry.ts";
import type { AuditSlot, AuditTrail } from "../audit/audit-trail.ts";
import type { RecordCache, ServerContext } from "../context.ts";
import { holds, type Draft } from "./draft.ts";
import { LeaseBuckets } from "./lease-buckets.ts";

/** Who asks for a change, and how it may be repeated. */
export interface Asker {
  readonly actor: string;
  readonly userId: string;
  readonly from: string;
  /** Route's name. */
  readonly action: string;
  readonly requestId: string;
  readonly idempotency?: { readonly key: string; readonly digest: string };
}

/** What a plan found. `receipt` names what was made, so that a repetition of the request is answered alike. */
export interface Planned<T> {
  readonly draft: Draft;
  readonly target: string;
  readonly project?: string | undefined;
  readonly before?: string;
  readonly after?: string;
  readonly receipt?: Receipt;
  readonly answer: (revision: number) => T;
}

export interface Receipt {
  readonly kind: string;
  readonly id: string;
  readonly task?: string;
}

/** The record is as wanted already: nothing is written. */
export interface Unchanged<T> {
  readonly unchanged: T;
}

/** The request was made before, with this result. */
export class Repeated extends Error {
  readonly receipt: Receipt;
  constructor(receipt: Receipt) {
    super("repeated");
    this.receipt = receipt;
  }
}

interface StoredReceipt extends Receipt {
  readonly digest: string;
}

const triesLimit = 12;

/** What would be answered; nothing is written. */
export async function dryRun<T>(plan: () => Planned<T> | Unchanged<T> | Promise<Planned<T> | Unchanged<T>>, revision: number): Promise<T> {
  const planned = await plan();
  if ("unchanged" in planned) return planned.unchanged;
  planned.draft.abandon();
  return planned.answer(revision);
}

export const digestOf = (action: string, path: string, body: string): string => hash("sha256", `${action}\n${path}\n${body}`, "base64url");

export class RecordWriter {
  readonly #context: Pick<ServerContext, "store" | "cache" | "logger">;
  readonly #trail: AuditTrail;
  readonly #leases: LeaseBuckets;
  /** Transactions by how they ended, for metrics. */
  readonly counts = { done: 0, refused: 0, retried: 0, failed: 0 };

  constructor(context: Pick<ServerContext, "store" | "cache" | "logger" | "clock">, trail: AuditTrail) {
    this.#context = context;
    this.#trail = trail;
    this.#leases = new LeaseBuckets(context);
  }

  get cache(): RecordCache {
    return this.#context.cache;
  }

  /**
   * Runs `plan` and commits its draft, again and again while unrelated changes get in between. `plan` throws to refuse.
   * Resolves when the cache has seen the change too, so that who asks next finds it.
   * @throws Repeated, SheafError
   */
  async write<T>(asker: Asker, plan: () => Planned<T> | Unchanged<T> | Promise<Planned<T> | Unchanged<T>>): Promise<T> {
    let slot: AuditSlot | undefined;
    let fields: AuditFields | undefined;
    try {
      for (let tries = 1; ; tries += 1) {
        const planned = await plan();
        if ("unchanged" in planned) {
          if (slot !== undefined) await this.#giveBack(slot, fields, null);
          return planned.unchanged;
        }
        if (planned.draft.tooLarge) {
          planned.draft.abandon();
          throw new SheafError("too-large", "This needs more changes than one transaction holds.", {
            next: "Make it with fewer disks, network cards or addresses, and add the others afterwards.",
          });
        }
        slot ??= this.#trail.slot();
        fields = fieldsOf(asker, planned);
        const outcome = await this.#commit(asker, planned, slot, fields);
        if (outcome.done) {
          this.counts.done += 1;
          await this.#context.cache.waitFor(outcome.revision);
          return planned.answer(outcome.revision);
        }
        planned.draft.abandon();
        if (outcome.numberTaken) {
          // Another server took this one for dead and filled the number.
          await this.#giveBack(slot, fields, null);
          slot = undefined;
        }
        if (outcome.refusal !== null) throw outcome.refusal;
        if (tries >= triesLimit)
          throw new SheafError("conflict", "Others kept changing the same records.", { next: "Look at the record again, then repeat the request." });
        this.counts.retried += 1;
        await this.#context.cache.waitFor(outcome.revision);
      }
    } catch (error) {
      if (slot !== undefined && !(error instanceof Settled)) await this.#giveBack(slot, fields, error);
      const shown = error instanceof Settled ? error.problem : error;
      if (!(shown instanceof Repeated)) this.counts.refused += 1;
      throw await this.#orRepeated(asker, shown);
    }
  }

  async #commit<T>(
    asker: Asker,
    planned: Planned<T>,
    slot: AuditSlot,
    fields: AuditFields,
  ): Promise<{ done: true; revision: number } | { done: false; revision: number; refusal: Error | null; numberTaken: boolean }> {
    const { draft } = planned;
    const text = this.#trail.text(slot, fields);
    const compare = draft.conditions.map((condition) => condition.compare);
    compare.push({ key: slot.key, createRevision: 0 });
    const then = [...draft.operations, { put: slot.key, value: text }];
    const repeat = asker.idempotency;
    if (repeat !== undefined && planned.receipt !== undefined) {
      const key = idempotencyKey(asker.userId, repeat.key);
      compare.push({ key, createRevision: 0 });
      const stored: StoredReceipt = { ...planned.receipt, digest: repeat.digest };
      then.push({ put: key, value: JSON.stringify(stored), lease: await this.#leases.current() });
    }
    let result: TransactionResult;
    try {
      result = await this.#context.store.transact({ compare, then });
    } catch (error) {
      if (error instanceof StoreError && error.code === "uncertain") return await this.#settle(slot, fields, draft);
      if (error instanceof StoreError && error.code === "lease-expired") {
        this.#leases.renew();
        return { done: false, revision: this.#context.cache.revision, refusal: null, numberTaken: false };
      }
      draft.abandon();
      throw error;
    }
    if (result.succeeded) {
      this.#trail.committed(slot, text);
      return { done: true, revision: result.revision };
    }
    const numberTaken = (result.current.get(slot.key) ?? null) !== null;
    return { done: false, revision: result.revision, refusal: this.#refusal(asker, draft, result), numberTaken };
  }

  /** The store did not say what became of it. The audit entry's key tells: either it is there, or it is taken from the transaction for good. */
  async #settle(slot: AuditSlot, fields: AuditFields, draft: Draft): Promise<{ done: true; revision: number }> {
    const failed = { ...fields, result: "failed", code: "uncertain" } as const;
    let made: boolean;
    try {
      ({ made } = await this.#trail.claim(slot, failed));
    } catch {
      this.#trail.unsettled(slot, failed);
      throw new Settled(
        new SheafError("uncertain", "The store did not confirm in time: the change may be made.", {
          next: "Repeat the request with the same Idempotency-Key, or look before you repeat it.",
        }),
      );
    }
    this.counts.failed += made ? 0 : 1;
    if (made) return { done: true, revision: await this.#context.store.revision() };
    draft.abandon();
    throw new Settled(new SheafError("unavailable", "The store did not take the change in time; nothing was changed.", { next: "Try again." }));
  }

  #refusal(asker: Asker, draft: Draft, { current }: TransactionResult): Error | null {
    if (asker.idempotency !== undefined) {
      const known = current.get(idempotencyKey(asker.userId, asker.idempotency.key));
      if (known) return repetition(known, asker.idempotency.digest);
    }
    for (const { compare, refusal, lost } of draft.conditions) {
      const now = current.get(compare.key) ?? null;
      if (holds(compare, now)) continue;
      lost?.();
      if (refusal !== undefined) return refusal(now);
    }
    return null;
  }

  /** Fills the audit number of a change that was not made. */
  async #giveBack(slot: AuditSlot, fields: AuditFields | undefined, error: unknown): Promise<void> {
    if (fields === undefined) return;
    const { after: _after, before: _before, ...rest } = fields;
    await this.#trail.unused(slot, { ...rest, result: "refused", code: codeOf(error) });
  }

  /** A refusal may be the echo of the same request's success: then it is answered as the first time. */
  async #orRepeated(asker: Asker, error: unknown): Promise<unknown> {
    if (asker.idempotency === undefined || error instanceof Repeated) return error;
    try {
      const known = await this.#context.store.get(idempotencyKey(asker.userId, asker.idempotency.key));
      return known === null ? error : repetition(known, asker.idempotency.digest);
    } catch {
      // Refused for good, it would not be repeated, though it may be its own success that stands in its way.
      if (error instanceof SheafError && (error.code === "uncertain" || error.code === "unavailable")) return error;
      return new SheafError("unavailable", "The store does not tell whether this very request was made before.", {
        next: "Repeat it with the same Idempotency-Key.",
      });
    }
  }
}

/** Ends a write whose audit number is settled already. */
class Settled extends Error {
  readonly problem: SheafError;
  constructor(problem: SheafError) {
    super(problem.message);
    this.problem = problem;
  }
}

function repetition(known: Entry, digest: string): Error {
  const stored = JSON.parse(known.value) as StoredReceipt; // written by this file alone
  if (stored.digest === digest) return new Repeated(stored);
  return new SheafError("idempotency-mismatch", "This Idempotency-Key was used before, with another request.", {
    next: "Use a new key for a new request.",
  });
}

const fieldsOf = (asker: Asker, planned: Planned<unknown>): AuditFields => ({
  actor: asker.actor,
  from: asker.from,
  action: asker.action,
  target: planned.target,
  result: "done",
  requestId: asker.requestId,
  ...(planned.project === undefined ? {} : { project: planned.project }),
  ...(planned.before === undefined ? {} : { before: planned.before }),
  ...(planned.after === undefined ? {} : { after: planned.after }),
});

const codeOf = (error: unknown): ProblemCode =>
  error instanceof SheafError ? error.code : error === null || error instanceof Repeated ? "conflict" : "unavailable";
