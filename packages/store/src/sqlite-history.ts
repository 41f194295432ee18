/** How one revision's changes lie in the history table: one flat JSON array, twelve items a change. Called by the database and by replays. */
import { deletedEntry } from "./plan-transaction.ts";
import type { Change } from "./plan-transaction.ts";

type Item = string | number | null;
const itemsPerChange = 12;

export function encodeChanges(changes: readonly Change[]): string {
  const items: Item[] = [];
  for (const { type, entry, previous } of changes) {
    items.push(type, entry.key, entry.value, entry.createRevision, entry.version, entry.lease);
    if (previous === null) items.push(0, null, null, null, null, null);
    else items.push(1, previous.value, previous.createRevision, previous.modRevision, previous.version, previous.lease);
  }
  return JSON.stringify(items);
}

export function decodeChanges(revision: number, text: string): Change[] {
  const items = JSON.parse(text) as Item[]; // written by encodeChanges alone
  const changes: Change[] = [];
  for (let at = 0; at < items.length; at += itemsPerChange) {
    const [type, key, value, createRevision, version, lease, had, ...before] = items.slice(at, at + itemsPerChange) as [
      "put" | "delete",
      string,
      string,
      number,
      number,
      string | null,
      number,
      string,
      number,
      number,
      number,
      string | null,
    ]; // the order of encodeChanges
    const [oldValue, oldCreateRevision, oldModRevision, oldVersion, oldLease] = before;
    const previous =
      had === 1
        ? { key, value: oldValue, createRevision: oldCreateRevision, modRevision: oldModRevision, version: oldVersion, lease: oldLease }
        : null;
    if (type === "put") changes.push({ type, entry: { key, value, createRevision, modRevision: revision, version, lease }, previous });
    else if (previous !== null) changes.push({ type, entry: deletedEntry(key, revision), previous });
  }
  return changes;
}
