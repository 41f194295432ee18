/**
 * What a transaction means, in one place for every backend of ours: reads through `look`, decides, and returns the changes to make.
 * Pure but for `look`; changes nothing.
 */
import type { Compare, Entry, Operation, TransactionInput } from "./store.ts";
import { leaseExpiredError } from "./validation.ts";

/** One change of one key. `previous` is what history needs to show the time before. */
export type Change =
  | { readonly type: "put"; readonly entry: Entry; readonly previous: Entry | null }
  | { readonly type: "delete"; readonly entry: Entry; readonly previous: Entry };

export interface Look {
  get(key: string): Entry | null;
  /** Every entry under the prefix, in order. */
  under(prefix: string): Iterable<Entry>;
  hasLease(lease: string): boolean;
}

export interface Plan {
  readonly succeeded: boolean;
  /** Empty when nothing changes; then the transaction has no revision of its own. */
  readonly changes: readonly Change[];
  readonly current: ReadonlyMap<string, Entry | null>;
}

const nothing: ReadonlyMap<string, Entry | null> = new Map();

/**
 * @param revision the revision the transaction gets when it changes anything
 * @throws StoreError `lease-expired`; nothing is changed then
 */
export function planTransaction(input: TransactionInput, revision: number, look: Look): Plan {
  const seen = new Map<string, Entry | null>();
  const get = (key: string): Entry | null => {
    let entry = seen.get(key);
    if (entry === undefined) seen.set(key, (entry = look.get(key)));
    return entry;
  };
  let succeeded = true;
  for (const compare of input.compare) if (!holds(compare, get(compare.key))) succeeded = false;
  const current = succeeded ? nothing : new Map(seen);
  const changes: Change[] = [];
  for (const operation of succeeded ? input.then : (input.else ?? [])) planOperation(operation, revision, get, look, changes);
  return { succeeded, changes, current };
}

function holds(compare: Compare, entry: Entry | null): boolean {
  if ("value" in compare) return entry !== null && entry.value === compare.value;
  if ("modRevision" in compare) return (entry?.modRevision ?? 0) === compare.modRevision;
  return (entry?.createRevision ?? 0) === compare.createRevision;
}

function planOperation(operation: Operation, revision: number, get: (key: string) => Entry | null, look: Look, changes: Change[]): void {
  if ("put" in operation) {
    const lease = operation.lease ?? null;
    if (lease !== null && !look.hasLease(lease)) throw leaseExpiredError(lease);
    const previous = get(operation.put);
    changes.push({
      type: "put",
      entry: {
        key: operation.put,
        value: operation.value,
        createRevision: previous?.createRevision ?? revision,
        modRevision: revision,
        version: (previous?.version ?? 0) + 1,
        lease,
      },
      previous,
    });
  } else if ("delete" in operation) {
    const previous = get(operation.delete);
    if (previous !== null) changes.push(planDelete(previous, revision));
  } else {
    for (const previous of look.under(operation.deletePrefix)) changes.push(planDelete(previous, revision));
  }
}

export function planDelete(previous: Entry, revision: number): Change {
  return { type: "delete", entry: deletedEntry(previous.key, revision), previous };
}

/** What a watcher is told of a key that went away. */
export function deletedEntry(key: string, revision: number): Entry {
  return { key, value: "", createRevision: 0, modRevision: revision, version: 0, lease: null };
}
