/**
 * Where Sheaf's keys lie in etcd, and how keys, entries and transactions of the store's contract become etcd's and back. Pure.
 *
 * A store has a place of its own, a prefix. In it lie the keys (under `k/`), the store's identity (`incarnation`) and a mark that is put
 * to see how far a watch has come (`mark`). Revisions are etcd's, counted from the one at which the identity was made.
 */
import { deletedEntry } from "../plan-transaction.ts";
import type { Compare, Entry, Operation, TransactionInput, TransactionResult, WatchEvent } from "../store.ts";
import type { CompareRequest, KeyValue, RangeResponse, RequestOp, TxnRequest, TxnResponse, WatchResponse } from "./messages.ts";

/** Fewer than etcd's default `--max-txn-ops`, 128, less what one level holds at most: conditions and operations, 100 each. */
const nestedOperations = 27;

export class Keyspace {
  readonly incarnationKey: Buffer;
  readonly markKey: Buffer;
  /** Everything of this store, for the watch. */
  readonly all: { readonly key: Buffer; readonly range_end: Buffer };
  readonly #data: Buffer;

  /** @param prefix ends with `/` */
  constructor(prefix: string) {
    this.incarnationKey = Buffer.from(`${prefix}incarnation`);
    this.markKey = Buffer.from(`${prefix}mark`);
    this.all = { key: Buffer.from(prefix), range_end: behind(Buffer.from(prefix)) };
    this.#data = Buffer.from(`${prefix}k/`);
  }

  at(key: string): Buffer {
    return Buffer.concat([this.#data, Buffer.from(key)]);
  }

  /** `null` for keys that are none of the contract's. */
  name(key: Buffer): string | null {
    return key.subarray(0, this.#data.length).equals(this.#data) ? key.toString("utf8", this.#data.length) : null;
  }

  under(prefix: string): { readonly key: Buffer; readonly range_end: Buffer } {
    const key = this.at(prefix);
    return { key, range_end: behind(key) };
  }

  /** The keys of a page: under the prefix and after one key. */
  page(prefix: string, after: string | undefined): { readonly key: Buffer; readonly range_end: Buffer } {
    const { key, range_end } = this.under(prefix);
    if (after === undefined) return { key, range_end };
    const next = Buffer.concat([this.at(after), Buffer.from([0])]);
    return { key: Buffer.compare(next, key) > 0 ? next : key, range_end };
  }
}

/** The first key behind all that start with this one. Texts in UTF-8 have no byte 255. */
function behind(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}

/** Whose revisions are meant: etcd's at the identity's creation, and at its last change. */
export interface Life {
  readonly base: number;
  readonly changedAt: number;
}

export const fromEtcd = (life: Life, revision: string): number => Number(revision) - life.base;

/** 0 means "absent" to both sides. */
const toEtcd = (life: Life, revision: number): number => (revision === 0 ? 0 : revision + life.base);

export function entryOf(space: Keyspace, life: Life, kv: KeyValue): Entry {
  return {
    key: space.name(kv.key) ?? "",
    value: kv.value.toString("utf8"),
    createRevision: fromEtcd(life, kv.create_revision),
    modRevision: fromEtcd(life, kv.mod_revision),
    version: Number(kv.version),
    lease: kv.lease === "0" ? null : kv.lease,
  };
}

/** The contract's events among etcd's. */
export function eventsOf(space: Keyspace, life: Life, events: WatchResponse["events"]): WatchEvent[] {
  const found: WatchEvent[] = [];
  for (const { type, kv } of events) {
    const key = space.name(kv.key);
    if (key === null) continue;
    found.push(
      type === "PUT"
        ? { type: "put", entry: entryOf(space, life, kv) }
        : { type: "delete", entry: deletedEntry(key, fromEtcd(life, kv.mod_revision)) },
    );
  }
  return found;
}

/** Holds only while the store's identity is what it was when it was opened: after a restore or a move nothing is written by mistake. */
export function sameLife(space: Keyspace, life: Life): CompareRequest {
  return { key: space.incarnationKey, result: "EQUAL", target: "MOD", mod_revision: life.changedAt };
}

export function encodeTransaction(space: Keyspace, life: Life, input: TransactionInput): TxnRequest {
  const asked = comparedKeys(input).map((key): RequestOp => ({ request_range: { key: space.at(key) } }));
  const inner: TxnRequest = {
    compare: input.compare.map((compare) => encodeCompare(space, life, compare)),
    success: input.then.map((operation) => encodeOperation(space, operation)),
    // The keys as they are before `else` changes them.
    failure: packed([...asked, ...(input.else ?? []).map((operation) => encodeOperation(space, operation))]),
  };
  return { compare: [sameLife(space, life)], success: [{ request_txn: inner }], failure: [] };
}

/** @returns `null` where the store's identity has changed: nothing was done */
export function decodeTransaction(space: Keyspace, life: Life, input: TransactionInput, response: TxnResponse): TransactionResult | null {
  const inner = response.responses[0]?.response_txn;
  if (!response.succeeded || inner === undefined) return null;
  const revision = fromEtcd(life, response.header?.revision ?? "0");
  if (inner.succeeded) return { succeeded: true, revision, current: new Map() };
  const ranges = unpacked(inner);
  return {
    succeeded: false,
    revision,
    current: new Map(
      comparedKeys(input).map((key, index) => {
        const kv = ranges[index]?.kvs[0];
        return [key, kv === undefined ? null : entryOf(space, life, kv)];
      }),
    ),
  };
}

const comparedKeys = (input: TransactionInput): string[] => [...new Set(input.compare.map(({ key }) => key))];

function encodeCompare(space: Keyspace, life: Life, compare: Compare): CompareRequest {
  const key = space.at(compare.key);
  if ("value" in compare) return { key, result: "EQUAL", target: "VALUE", value: Buffer.from(compare.value) };
  if ("modRevision" in compare) return { key, result: "EQUAL", target: "MOD", mod_revision: toEtcd(life, compare.modRevision) };
  return { key, result: "EQUAL", target: "CREATE", create_revision: toEtcd(life, compare.createRevision) };
}

function encodeOperation(space: Keyspace, operation: Operation): RequestOp {
  if ("delete" in operation) return { request_delete_range: { key: space.at(operation.delete) } };
  if ("deletePrefix" in operation) return { request_delete_range: space.under(operation.deletePrefix) };
  const { put, value, lease } = operation;
  return { request_put: { key: space.at(put), value: Buffer.from(value), ...(lease === undefined ? {} : { lease }) } };
}

/** Up to 200 operations go into one branch of at most 100 as transactions without conditions, one level down. */
function packed(operations: readonly RequestOp[]): RequestOp[] {
  const groups: RequestOp[] = [];
  for (let start = 0; start < operations.length; start += nestedOperations)
    groups.push({ request_txn: { compare: [], success: operations.slice(start, start + nestedOperations), failure: [] } });
  return groups;
}

function unpacked(response: TxnResponse): RangeResponse[] {
  return response.responses.flatMap(({ response_txn }) => (response_txn?.responses ?? []).flatMap(({ response_range }) => response_range ?? []));
}
