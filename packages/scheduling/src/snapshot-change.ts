/** What the index is fed with: the cache's own changes, one record each. Kinds that placement does not look at are ignored. */
import type { AnyRecord, Kind } from "@sheaf/model";

export type SnapshotChange =
  | { readonly type: "upsert"; readonly record: AnyRecord }
  | { readonly type: "remove"; readonly kind: Kind; readonly id: string };
