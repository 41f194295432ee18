/**
 * A copy of the scheduler's picture of the site, to try things on: of the same records, by the same code. Made piece by piece, so that nothing else
 * waits for it; what changes meanwhile is in it. Called for each question; whoever has it must not yield before it has answered.
 */
import { type Clock, sleep } from "@sheaf/base";
import type { AnyRecord } from "@sheaf/model";
import { SnapshotIndex } from "@sheaf/scheduling";
import type { RecordCache, RecordChange } from "../context.ts";

/** In some milliseconds. */
const recordsAtOnce = 2000;
const kinds = ["cluster", "network", "pool", "host", "volume", "vm"] as const;

export async function copySite(cache: RecordCache, snapshot: SnapshotIndex, clock: Clock): Promise<SnapshotIndex> {
  const copy = new SnapshotIndex();
  const missed: RecordChange[] = [];
  const end = cache.subscribe((_revision, changes) => void missed.push(...changes));
  try {
    let left = recordsAtOnce;
    for (const kind of kinds)
      for (const { id } of [...cache.all(kind)]) {
        const record = cache.get(kind, id);
        if (record !== undefined) copy.update({ type: "upsert", record: record as AnyRecord }); // under its kind
        left -= 1;
        if (left > 0) continue;
        await sleep(clock, 0);
        left = recordsAtOnce;
      }
  } finally {
    end();
  }
  for (const { kind, id, record } of missed) copy.update(record ? { type: "upsert", record: record as AnyRecord } : { type: "remove", kind, id }); // as above
  copy.takeOver(snapshot);
  return copy;
}
