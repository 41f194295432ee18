/**
 * Writes what agents report: many parts in one transaction, the newest value of each part only, and nothing where nothing changed, so that
 * a site at rest costs the store nothing. Keeps trying while the store cannot take it; a report is answered when it is durable.
 * Called by the gateway, which has judged the rights; each part is written under a condition that makes the judgement hold.
 */
import { isDeepStrictEqual } from "node:util";
import type { Clock, Logger } from "@sheaf/base";
import type { ReportedPart } from "@sheaf/contract";
import { partKey } from "@sheaf/model";
import { StoreError, storeLimits, type Compare, type Entry, type Operation, type Store, type TransactionResult } from "@sheaf/store";
import type { RecordCache } from "../context.ts";
import { presentValue, valueProblem } from "./report-rights.ts";

/** `null`: durable. */
export type ReportOutcome = { readonly refused: string } | null;

export interface JudgedReport {
  readonly hostId: string;
  readonly part: ReportedPart;
  readonly guard: Compare;
  /** Holds while the connection that it came by is the host's newest one, at any server. */
  readonly attachment?: Compare;
  /** It is that no more: this is not written, nor answered. */
  readonly superseded?: () => void;
  readonly done: (outcome: ReportOutcome) => void;
  /** The condition no longer held: to be judged again, once the cache has seen what changed. */
  readonly judgeAgain: () => void;
}

interface Pending {
  readonly key: string;
  report: JudgedReport;
  json: string | null;
  /** Older reports of the same part, answered together with the newest. */
  readonly older: JudgedReport[];
}

export interface ReportStatistics {
  written: number;
  unchanged: number;
  coalesced: number;
  transactions: number;
  retries: number;
}

const parallelTransactions = 4;
const bytesPerTransaction = storeLimits.transactionBytes;
const firstRetryMs = 100;
const lastRetryMs = 5000;

export class ReportWriter {
  readonly #store: Store;
  readonly #cache: RecordCache;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #pending = new Map<string, Pending>();
  readonly #underWay = new Set<string>();
  /** Written, not yet seen by the cache. */
  readonly #ahead = new Map<string, { readonly json: string | null; readonly revision: number }>();
  readonly #unsubscribe: () => void;
  readonly statistics: ReportStatistics = { written: 0, unchanged: 0, coalesced: 0, transactions: 0, retries: 0 };
  #running = 0;
  /** Length of the last pause after a failure; 0 after a success. */
  #pauseMs = 0;
  #pausing = false;
  #pumping = false;
  #closed = false;

  constructor(options: { store: Store; cache: RecordCache; clock: Clock; logger: Logger }) {
    this.#store = options.store;
    this.#cache = options.cache;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#unsubscribe = this.#cache.subscribe((revision) => {
      for (const [key, written] of this.#ahead) {
        if (written.revision > revision) break; // in order of writing, which is nearly that of revisions
        this.#ahead.delete(key);
      }
    });
  }

  submit(report: JudgedReport): void {
    const { part, hostId } = report;
    const key = partKey(part.kind, part.id, part.part);
    const waiting = this.#pending.get(key);
    if (!waiting && !this.#underWay.has(key) && this.#isPresent(key, part)) {
      this.statistics.unchanged += 1;
      return report.done(null);
    }
    const json = part.value === null ? null : JSON.stringify(part.value);
    const problem = json === null ? null : valueProblem(part.kind, hostId, part.value, json);
    if (problem !== null) return report.done({ refused: problem });
    if (waiting) {
      this.statistics.coalesced += 1;
      waiting.older.push(waiting.report);
      waiting.report = report;
      waiting.json = json;
    } else {
      this.#pending.set(key, { key, report, json, older: [] });
    }
    this.#pumpSoon();
  }

  /** Parts that wait or are being written. */
  get backlog(): number {
    return this.#pending.size + this.#underWay.size;
  }

  /** What waits is not written any more, nor answered: agents tell it again. */
  close(): void {
    this.#closed = true;
    this.#pending.clear();
    this.#unsubscribe();
  }

  #isPresent(key: string, part: ReportedPart): boolean {
    const ahead = this.#ahead.get(key);
    const value = ahead ? (ahead.json === null ? undefined : JSON.parse(ahead.json)) : presentValue(this.#cache, part);
    return part.value === null ? value === undefined : isDeepStrictEqual(value, part.value);
  }

  /** After what is running now: the parts of one message leave in one transaction. */
  #pumpSoon(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (!this.#closed && !this.#pausing && this.#running < parallelTransactions) {
      const batch = this.#take();
      if (batch.length === 0) return;
      this.#running += 1;
      void this.#write(batch).finally(() => {
        this.#running -= 1;
        this.#pump();
      });
    }
  }

  #take(): Pending[] {
    const batch: Pending[] = [];
    const attachments = new Map<string, Compare>();
    let bytes = 0;
    for (const [key, pending] of this.#pending) {
      if (this.#underWay.has(key)) continue;
      // As UTF-8 a character of JavaScript's has at most three bytes.
      bytes += key.length * 2 + (pending.json?.length ?? 0) * 3 + 400;
      const { attachment } = pending.report;
      const known = attachment && attachments.get(attachment.key);
      if (known && !isDeepStrictEqual(known, attachment)) break; // of an earlier connection: one of them fails
      const conditions = batch.length + 1 + attachments.size + (attachment && !known ? 1 : 0);
      if (batch.length > 0 && (conditions > storeLimits.operations || bytes > bytesPerTransaction)) break;
      if (attachment) attachments.set(attachment.key, attachment);
      this.#pending.delete(key);
      batch.push(pending);
    }
    // Marked after the loop: a part is in one transaction at a time, or an older value could be written last.
    for (const { key } of batch) this.#underWay.add(key);
    return batch;
  }

  async #write(batch: readonly Pending[]): Promise<void> {
    const then = batch.map(({ key, json }): Operation => (json === null ? { delete: key } : { put: key, value: json }));
    try {
      const result = await this.#store.transact({ compare: conditionsOf(batch), then });
      this.statistics.transactions += 1;
      if (result.succeeded) this.#written(batch, result.revision);
      else await this.#sortOut(batch, result);
    } catch (error) {
      await this.#failed(batch, error);
    }
  }

  #written(batch: readonly Pending[], revision: number): void {
    this.statistics.written += batch.length;
    this.#pauseMs = 0;
    for (const pending of batch) {
      this.#underWay.delete(pending.key);
      this.#ahead.delete(pending.key);
      if (revision > this.#cache.revision) this.#ahead.set(pending.key, { json: pending.json, revision });
      answer(pending, null);
    }
  }

  /** Some conditions did not hold: those parts are judged again, the others are written without them. */
  async #sortOut(batch: readonly Pending[], result: TransactionResult): Promise<void> {
    const failing: Pending[] = [];
    for (const pending of batch) {
      const { attachment } = pending.report;
      if (attachment && !sameByValue(attachment, result.current.get(attachment.key) ?? null)) {
        // Whoever hears the host now is told all that is so.
        this.#underWay.delete(pending.key);
        pending.report.superseded?.();
        continue;
      }
      const guard = sameByValue(pending.report.guard, result.current.get(pending.report.guard.key) ?? null);
      if (!guard) failing.push(pending);
      else {
        pending.report = { ...pending.report, guard };
        this.#giveBack([pending]);
      }
    }
    // The next judgement must know what this one did not.
    await this.#cache.waitFor(result.revision).catch(() => {});
    for (const pending of failing) {
      this.#underWay.delete(pending.key);
      const newer = this.#pending.get(pending.key);
      if (newer) {
        // What came meanwhile speaks for this one: judged again, the older value would take its place.
        newer.older.push(...pending.older, pending.report);
        continue;
      }
      for (const older of pending.older) older.done(null); // the newest speaks for them
      pending.report.judgeAgain();
    }
  }

  async #failed(batch: readonly Pending[], error: unknown): Promise<void> {
    const code = error instanceof StoreError ? error.code : "unavailable";
    if (code === "closed") return this.close();
    if (code === "too-large" || code === "invalid" || code === "too-many-operations" || code === "duplicate-key") {
      // One that the store cannot take must not cost the others their place.
      if (batch.length > 1) {
        for (const pending of batch) await this.#write([pending]);
        return;
      }
      this.#logger.error({ error: String(error), keys: batch.map(({ key }) => key) }, "a report cannot be written");
      for (const pending of batch) {
        this.#underWay.delete(pending.key);
        answer(pending, { refused: "the store cannot take it" });
      }
      return;
    }
    // Not written, or perhaps written: to write the same again is right in both cases.
    this.statistics.retries += 1;
    this.#giveBack(batch);
    if (this.#pausing) return; // another transaction failed before
    this.#pauseMs = Math.min(lastRetryMs, Math.max(firstRetryMs, this.#pauseMs * 2));
    this.#logger.warn(
      { code, error: String(error), parts: batch.length, pauseMs: this.#pauseMs },
      "reports of agents could not be written; tried again",
    );
    this.#pausing = true;
    await new Promise<void>((resolve) => this.#clock.setTimer(this.#pauseMs, resolve));
    this.#pausing = false;
  }

  /** Back to what waits, unless something newer waits already. */
  #giveBack(batch: readonly Pending[]): void {
    for (const pending of batch) {
      this.#underWay.delete(pending.key);
      const newer = this.#pending.get(pending.key);
      if (newer) newer.older.push(...pending.older, pending.report);
      else this.#pending.set(pending.key, pending);
    }
  }
}

function conditionsOf(batch: readonly Pending[]): Compare[] {
  const attachments = new Map<string, Compare>();
  for (const { report } of batch) if (report.attachment) attachments.set(report.attachment.key, report.attachment);
  return [...batch.map(({ report }) => report.guard), ...attachments.values()];
}

function answer(pending: Pending, outcome: ReportOutcome): void {
  for (const older of pending.older) older.done(outcome);
  pending.report.done(outcome);
}

/**
 * @returns the condition when it holds; by revision where only the text differs (another order of fields); `null` when it does not hold
 */
function sameByValue(guard: Compare, entry: Entry | null): Compare | null {
  if ("modRevision" in guard) return (entry?.modRevision ?? 0) === guard.modRevision ? guard : null;
  if ("createRevision" in guard) return (entry?.createRevision ?? 0) === guard.createRevision ? guard : null;
  if (!entry) return null;
  if (entry.value === guard.value) return guard;
  return isDeepStrictEqual(JSON.parse(entry.value), JSON.parse(guard.value)) ? { key: guard.key, modRevision: entry.modRevision } : null;
}
