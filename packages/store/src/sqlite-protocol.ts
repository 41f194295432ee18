/**
 * What the store's main side and its worker thread say to each other. Transactions travel as one flat array of texts and numbers for
 * a whole batch: structured cloning of nested objects would cost more than the database does. Both ends are this package's own, of
 * the same version: nothing is checked again.
 */
import type { Outcome } from "./sqlite-database.ts";
import { StoreError } from "./store.ts";
import type { Compare, Entry, Operation, RangeInput, StoreErrorCode, TransactionInput, TransactionResult, WatchEvent } from "./store.ts";
import { deletedEntry } from "./plan-transaction.ts";

export type Item = string | number | null;

/** Calls that are no transactions; answered one by one. */
export type Call =
  | { readonly call: "get"; readonly key: string; readonly revision: number | null }
  | { readonly call: "range"; readonly input: RangeInput }
  | { readonly call: "history"; readonly fromRevision: number }
  | { readonly call: "grant-lease"; readonly lease: string; readonly ttlMs: number }
  | { readonly call: "drop-lease"; readonly lease: string }
  | { readonly call: "compact"; readonly revision: number }
  | { readonly call: "revision" }
  | { readonly call: "statistics" }
  | { readonly call: "backup"; readonly path: string }
  | { readonly call: "close" };

/** Main to worker: transactions first, with one commit; then the calls in order. */
export interface BatchMessage {
  readonly nowMs: number;
  readonly transactions: readonly Item[];
  readonly calls: readonly { readonly id: number; readonly call: Call }[];
}

export type CallAnswer = { readonly id: number } & ({ readonly value: unknown } | { readonly failure: Failure });

/** Worker to main. */
export type WorkerMessage =
  | { readonly type: "opened"; readonly incarnation: string; readonly leases: readonly (readonly [id: string, ttlMs: number])[] }
  | { readonly type: "not-opened"; readonly failure: Failure }
  /** The answer to one batch, in the order of the batches. */
  | { readonly type: "batch"; readonly outcomes: readonly Item[]; readonly answers: readonly CallAnswer[]; readonly broken: Failure | null }
  /** To a call that takes longer than its batch. */
  | { readonly type: "late"; readonly answer: CallAnswer };

/** A StoreError as it crosses between threads. */
export interface Failure {
  readonly code: StoreErrorCode;
  readonly message: string;
  readonly compactRevision: number | null;
}

export function toFailure(error: unknown): Failure {
  if (error instanceof StoreError) return { code: error.code, message: error.message, compactRevision: error.compactRevision };
  return { code: "unavailable", message: `the store failed: ${error instanceof Error ? error.message : String(error)}`, compactRevision: null };
}

export function fromFailure({ code, message, compactRevision }: Failure): StoreError {
  return new StoreError(code, message, compactRevision === null ? {} : { compactRevision });
}

const compareByModRevision = 0;
const compareByCreateRevision = 1;
const compareByValue = 2;
const put = 0;
const deleteKey = 1;
const deletePrefix = 2;

/** Appends a transaction. */
export function encodeTransaction(items: Item[], { compare, then, else: otherwise }: TransactionInput): void {
  items.push(compare.length);
  for (const condition of compare) {
    if ("modRevision" in condition) items.push(condition.key, compareByModRevision, condition.modRevision);
    else if ("createRevision" in condition) items.push(condition.key, compareByCreateRevision, condition.createRevision);
    else items.push(condition.key, compareByValue, condition.value);
  }
  encodeOperations(items, then);
  encodeOperations(items, otherwise ?? []);
}

function encodeOperations(items: Item[], operations: readonly Operation[]): void {
  items.push(operations.length);
  for (const operation of operations) {
    if ("put" in operation) items.push(put, operation.put, operation.value, operation.lease ?? null);
    else if ("delete" in operation) items.push(deleteKey, operation.delete);
    else items.push(deletePrefix, operation.deletePrefix);
  }
}

/** Reads items in the order in which they were written. */
class Reader {
  #at = 0;
  readonly #items: readonly Item[];

  constructor(items: readonly Item[]) {
    this.#items = items;
  }

  get ended(): boolean {
    return this.#at >= this.#items.length;
  }

  text(): string {
    return this.#items[this.#at++] as string; // written as a text at this place
  }

  number(): number {
    return this.#items[this.#at++] as number; // written as a number at this place
  }

  textOrNull(): string | null {
    return this.#items[this.#at++] as string | null; // written so at this place
  }
}

export function decodeTransactions(items: readonly Item[]): TransactionInput[] {
  const reader = new Reader(items);
  const transactions: TransactionInput[] = [];
  while (!reader.ended) transactions.push({ compare: decodeCompare(reader), then: decodeOperations(reader), else: decodeOperations(reader) });
  return transactions;
}

function decodeCompare(reader: Reader): Compare[] {
  return Array.from({ length: reader.number() }, (): Compare => {
    const key = reader.text();
    switch (reader.number()) {
      case compareByModRevision:
        return { key, modRevision: reader.number() };
      case compareByCreateRevision:
        return { key, createRevision: reader.number() };
      default:
        return { key, value: reader.text() };
    }
  });
}

function decodeOperations(reader: Reader): Operation[] {
  return Array.from({ length: reader.number() }, (): Operation => {
    switch (reader.number()) {
      case put: {
        const key = reader.text();
        const value = reader.text();
        const lease = reader.textOrNull();
        return lease === null ? { put: key, value } : { put: key, value, lease };
      }
      case deleteKey:
        return { delete: reader.text() };
      default:
        return { deletePrefix: reader.text() };
    }
  });
}

const failed = 0;
const succeeded = 1;
const refused = 2;

/** Values of puts are not sent back: the main side has them. */
export function encodeOutcomes(outcomes: readonly Outcome[]): Item[] {
  const items: Item[] = [];
  for (const outcome of outcomes) {
    if ("error" in outcome) {
      items.push(failed, outcome.error.code, outcome.error.message);
      continue;
    }
    const { plan, revision } = outcome;
    items.push(plan.succeeded ? succeeded : refused, revision, plan.current.size);
    for (const [key, entry] of plan.current) {
      items.push(key);
      encodeEntry(items, entry);
    }
    items.push(plan.changes.length);
    for (const { type, entry } of plan.changes) {
      if (type === "put") items.push(put, entry.key, entry.createRevision, entry.version);
      else items.push(deleteKey, entry.key);
    }
  }
  return items;
}

function encodeEntry(items: Item[], entry: Entry | null): void {
  if (entry === null) items.push(null);
  else items.push(entry.value, entry.createRevision, entry.modRevision, entry.version, entry.lease);
}

export type DecodedOutcome = { readonly result: TransactionResult; readonly events: readonly WatchEvent[] } | { readonly error: StoreError };

/** @param inputs the transactions of the batch, in order */
export function decodeOutcomes(items: readonly Item[], inputs: readonly TransactionInput[]): DecodedOutcome[] {
  const reader = new Reader(items);
  return inputs.map((input) => {
    const status = reader.number();
    // Of a transaction's errors only those without a compaction cross here.
    if (status === failed) return { error: new StoreError(reader.text() as StoreErrorCode /* written from a StoreError */, reader.text()) };
    const revision = reader.number();
    const current = new Map<string, Entry | null>();
    for (let count = reader.number(); count > 0; count -= 1) {
      const key = reader.text();
      current.set(key, decodeEntry(reader, key));
    }
    const events = decodeEvents(reader, revision, status === succeeded ? input.then : (input.else ?? []));
    return { result: { succeeded: status === succeeded, revision, current }, events };
  });
}

function decodeEntry(reader: Reader, key: string): Entry | null {
  const value = reader.textOrNull();
  if (value === null) return null;
  return { key, value, createRevision: reader.number(), modRevision: reader.number(), version: reader.number(), lease: reader.textOrNull() };
}

/** Puts come in the order of their operations: each takes its value from the next one. */
function decodeEvents(reader: Reader, revision: number, operations: readonly Operation[]): WatchEvent[] {
  let at = 0;
  return Array.from({ length: reader.number() }, (): WatchEvent => {
    const type = reader.number();
    const key = reader.text();
    if (type === deleteKey) return { type: "delete", entry: deletedEntry(key, revision) };
    let operation = operations[at++];
    while (operation !== undefined && !("put" in operation)) operation = operations[at++];
    const createRevision = reader.number();
    const version = reader.number();
    return {
      type: "put",
      entry: { key, value: operation?.value ?? "", createRevision, modRevision: revision, version, lease: operation?.lease ?? null },
    };
  });
}

/** A page's entries as one flat array. */
export function encodeEntries(entries: readonly Entry[]): Item[] {
  const items: Item[] = [];
  for (const entry of entries) {
    items.push(entry.key);
    encodeEntry(items, entry);
  }
  return items;
}

export function decodeEntries(items: readonly Item[]): Entry[] {
  const reader = new Reader(items);
  const entries: Entry[] = [];
  while (!reader.ended) {
    const entry = decodeEntry(reader, reader.text());
    if (entry !== null) entries.push(entry);
  }
  return entries;
}
