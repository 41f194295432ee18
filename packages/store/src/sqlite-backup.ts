/**
 * A backup of a store that is not on SQLite, as a file that is: so one form of backup serves every store, and restores into any.
 * Called by the etcd store.
 */
import { rename, rm, stat } from "node:fs/promises";
import type { Clock, Random } from "@sheaf/base";
import { copyStore } from "./copy-store.ts";
import { assertAbsent } from "./sqlite-absent.ts";
import { openSqliteStore } from "./sqlite.ts";
import { StoreError } from "./store.ts";
import type { DurableStore } from "./store.ts";

/** @throws StoreError `invalid` where something is there already, `unavailable` where it cannot be read or written */
export async function backUpToSqlite(
  store: DurableStore,
  path: string,
  ports: { readonly clock: Clock; readonly random: Random },
): Promise<{ readonly revision: number; readonly bytes: number }> {
  await assertAbsent(path);
  const unfinished = `${path}.unfinished`;
  try {
    await rm(unfinished, { force: true });
    const copy = await openSqliteStore({ path: unfinished, ...ports, historyRevisions: 1 });
    let revision: number;
    try {
      ({ revision } = await copyStore(store, copy));
    } finally {
      await copy.close();
    }
    const { size } = await stat(unfinished);
    await rename(unfinished, path);
    return { revision, bytes: size };
  } catch (error) {
    await rm(unfinished, { force: true });
    if (error instanceof StoreError) throw error;
    throw new StoreError("unavailable", `the backup to ${path} failed: ${String(error)}`, { cause: error });
  }
}
