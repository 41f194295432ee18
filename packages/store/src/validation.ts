/** What every backend refuses before it does anything. Called by the backends; knows the limits, not the data. */
import { StoreError, storeLimits } from "./store.ts";
import type { Operation, RangeInput, TransactionInput } from "./store.ts";

/** @throws StoreError `invalid`, `too-large`, `too-many-operations`, `duplicate-key` */
export function checkTransaction(input: TransactionInput): void {
  if (input.compare.length > storeLimits.operations) throw tooMany("conditions", input.compare.length);
  let bytes = 0;
  for (const compare of input.compare) {
    bytes += checkKey(compare.key);
    if ("value" in compare) bytes += checkValue(compare.key, compare.value);
    else checkRevision("modRevision" in compare ? compare.modRevision : compare.createRevision);
  }
  bytes += checkBranch(input.then);
  if (input.else !== undefined) bytes += checkBranch(input.else);
  if (bytes > storeLimits.transactionBytes)
    throw new StoreError("too-large", `a transaction of ${bytes} bytes is above the limit of ${storeLimits.transactionBytes}; split it`);
}

function checkBranch(operations: readonly Operation[]): number {
  if (operations.length > storeLimits.operations) throw tooMany("operations", operations.length);
  const keys = new Set<string>();
  const prefixes: string[] = [];
  let bytes = 0;
  for (const operation of operations) {
    if ("deletePrefix" in operation) {
      bytes += checkKey(operation.deletePrefix);
      prefixes.push(operation.deletePrefix);
      continue;
    }
    const key = "put" in operation ? operation.put : operation.delete;
    bytes += checkKey(key);
    if ("put" in operation) bytes += checkValue(key, operation.value);
    if (keys.has(key)) throw new StoreError("duplicate-key", `a transaction may touch a key once only, this one touches "${key}" twice`);
    keys.add(key);
  }
  for (const [index, prefix] of prefixes.entries()) {
    const touched = [...keys].find((key) => key.startsWith(prefix)) ?? prefixes.find((other, at) => at !== index && other.startsWith(prefix));
    if (touched !== undefined)
      throw new StoreError("duplicate-key", `a transaction may touch a key once only, but "${touched}" lies under the deleted prefix "${prefix}"`);
  }
  return bytes;
}

function checkKey(key: string): number {
  if (key === "") throw new StoreError("invalid", "a key must not be empty");
  checkText("key", key);
  const bytes = Buffer.byteLength(key);
  if (bytes > storeLimits.keyBytes)
    throw new StoreError("too-large", `the key "${key.slice(0, 60)}…" has ${bytes} bytes; at most ${storeLimits.keyBytes} are allowed`);
  return bytes;
}

function checkValue(key: string, value: string): number {
  checkText(`value of "${key}"`, value);
  const bytes = Buffer.byteLength(value);
  if (bytes > storeLimits.valueBytes)
    throw new StoreError("too-large", `the value of "${key}" has ${bytes} bytes; at most ${storeLimits.valueBytes} are allowed`);
  return bytes;
}

/** Half a surrogate pair has no UTF-8, and NUL ends texts in C: neither would come back as it went in. */
function checkText(what: string, text: string): void {
  if (!text.isWellFormed() || text.includes("\0")) throw new StoreError("invalid", `the ${what} has a NUL or half a surrogate pair in it`);
}

function checkRevision(revision: number): void {
  if (!Number.isSafeInteger(revision) || revision < 0) throw new StoreError("invalid", `${revision} is no revision: a whole number from 0 is needed`);
}

/** @throws StoreError `invalid` */
export function checkRange(input: RangeInput): void {
  const { limit, revision } = input;
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 1 && limit <= storeLimits.pageEntries))
    throw new StoreError("invalid", `a page has 1 to ${storeLimits.pageEntries} entries, not ${limit}`);
  if (revision !== undefined) checkReadRevision(revision);
}

/** @throws StoreError `invalid` */
export function checkReadRevision(revision: number): void {
  checkRevision(revision);
}

/** @throws StoreError `invalid` */
export function checkFromRevision(revision: number): void {
  checkRevision(revision);
  if (revision === 0) throw new StoreError("invalid", "a watch begins at revision 1 or later; after a list at revision R it is R + 1");
}

/** @throws StoreError `invalid` */
export function checkLeaseTime(ttlMs: number): void {
  if (!Number.isSafeInteger(ttlMs) || ttlMs < storeLimits.leaseMinMs || ttlMs > storeLimits.leaseMaxMs)
    throw new StoreError("invalid", `a lease lasts ${storeLimits.leaseMinMs} to ${storeLimits.leaseMaxMs} ms, not ${ttlMs}`);
}

function tooMany(what: string, count: number): StoreError {
  return new StoreError("too-many-operations", `a transaction has at most ${storeLimits.operations} ${what}, not ${count}; split it`);
}

// The errors that several backends raise in the same words.

export function compactedError(asked: number, compactRevision: number): StoreError {
  return new StoreError("compacted", `revision ${asked} is forgotten, the oldest known is ${compactRevision}; list again and go on from there`, {
    compactRevision,
  });
}

export function futureRevisionError(asked: number, newest: number): StoreError {
  return new StoreError("future-revision", `revision ${asked} is not there yet, the newest is ${newest}`);
}

export function leaseExpiredError(lease: string): StoreError {
  return new StoreError("lease-expired", `lease ${lease} has expired or never was; take a new one`);
}

export function closedError(): StoreError {
  return new StoreError("closed", "the store is closed");
}
