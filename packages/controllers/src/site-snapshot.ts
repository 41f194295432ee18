/**
 * The scheduler's picture of the site, fed by the cache's changes. A server has one: its controllers decide on it, its API ranks hosts and
 * counts with it. Made by `createControllers`, and by tests that have no controllers.
 */
import { kinds, type AnyRecord } from "@sheaf/model";
import { SnapshotIndex } from "@sheaf/scheduling";
import type { RecordCache } from "./context.ts";

/** Must be called before whoever relies on the picture subscribes to the cache: it is up to date first. */
export function followSite(cache: RecordCache): { readonly snapshot: SnapshotIndex; close(): void } {
  const snapshot = new SnapshotIndex();
  // From the cache, under its kind.
  for (const kind of kinds) for (const record of cache.all(kind)) snapshot.update({ type: "upsert", record: record as AnyRecord });
  const close = cache.subscribe((_revision, changes) => {
    // As above.
    for (const { kind, id, record } of changes)
      snapshot.update(record ? { type: "upsert", record: record as AnyRecord } : { type: "remove", kind, id });
  });
  return { snapshot, close };
}
