/**
 * Copies everything of one store into another that is empty, and tells what it copied, so that both sides can be compared. Keys keep
 * values and leases' times; revisions, versions and leases' names are the new store's own. Called by backups and moves.
 * What short leases hold (who leads, who is there) is true of the moment only, and is not copied.
 */
import { createHash } from "node:crypto";
import type { DurableStore, Entry, Operation, Store } from "./store.ts";

/** Below the contract's limit for one transaction, with room for keys. */
const batchBytes = 512 * 1024;
const batchOperations = 100;

const shortLeaseMs = 60_000;

/** What a store holds, short enough to compare. Only what no lease holds: that may run out between two looks. */
export interface StoreDigest {
  readonly keys: number;
  readonly bytes: number;
  /** Over keys and values, in order. */
  readonly sha256: string;
}

/** @returns what was read, and at which revision */
export async function copyStore(from: DurableStore, to: Store): Promise<StoreDigest & { readonly revision: number }> {
  const leases = new Map<string, string | null>();
  const newLease = async (lease: string): Promise<string | null> => {
    let known = leases.get(lease);
    if (known === undefined) {
      const ttlMs = await from.leaseTime(lease);
      leases.set(lease, (known = ttlMs === null || ttlMs < shortLeaseMs ? null : (await to.grantLease(ttlMs)).id));
    }
    return known;
  };
  const digest = new RunningDigest();
  let batch: Operation[] = [];
  let bytes = 0;
  const write = async (): Promise<void> => {
    if (batch.length > 0) await to.transact({ compare: [], then: batch });
    batch = [];
    bytes = 0;
  };
  const revision = await each(from, async (entry) => {
    const { key, value } = entry;
    const lease = entry.lease === null ? undefined : await newLease(entry.lease);
    if (lease === null) return;
    const size = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (batch.length === batchOperations || bytes + size > batchBytes) await write();
    batch.push(lease === undefined ? { put: key, value } : { put: key, value, lease });
    bytes += size;
    digest.add(entry);
  });
  await write();
  return { ...digest.result(), revision };
}

export async function digestStore(store: Store): Promise<StoreDigest> {
  const digest = new RunningDigest();
  await each(store, async (entry) => digest.add(entry));
  return digest.result();
}

/** Everything as of one revision, in order of keys. @returns the revision */
async function each(store: Store, take: (entry: Entry) => Promise<void>): Promise<number> {
  let page = await store.range({ prefix: "" });
  const { revision } = page;
  for (;;) {
    for (const entry of page.entries) await take(entry);
    const after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) return revision;
    page = await store.range({ prefix: "", after, revision });
  }
}

class RunningDigest {
  readonly #hash = createHash("sha256");
  #keys = 0;
  #bytes = 0;

  add({ key, value, lease }: Entry): void {
    if (lease !== null) return;
    this.#keys += 1;
    this.#bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    this.#hash.update(JSON.stringify([key, value]));
  }

  result(): StoreDigest {
    return { keys: this.#keys, bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }
}
