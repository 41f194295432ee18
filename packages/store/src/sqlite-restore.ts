/**
 * Makes a new data file from a backup, with a new incarnation: what was written after the backup is gone, so revisions, epochs and
 * watch tokens of the old life must not be taken for ones of the new. Called by `sheaf backup restore`
 * with the server stopped.
 */
import { copyFile, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { uuidv7 } from "@sheaf/base";
import type { Clock, Random } from "@sheaf/base";
import { openDatabase, readMeta } from "./sqlite-schema.ts";
import { StoreError } from "./store.ts";

export interface RestoreOptions {
  /** As `SqliteStore.backup` wrote it; left as it is. */
  readonly backup: string;
  /** The new data file; nothing may be there, neither the file nor its `-wal`. */
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** @throws StoreError `invalid`, `corrupt`, `newer-schema`, `full`, `unavailable`; `path` is then as absent as before */
export async function restoreSqliteStore({ backup, path, clock, random }: RestoreOptions): Promise<{ readonly incarnation: string }> {
  if (!(await exists(backup))) throw new StoreError("invalid", `there is no backup at ${backup}`);
  for (const taken of [path, `${path}-wal`])
    if (await exists(taken)) throw new StoreError("invalid", `${taken} exists; move it away first, a restore overwrites nothing`);
  const unfinished = `${path}.restoring`;
  const incarnation = uuidv7(clock.now(), random);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await removeFile(unfinished);
    await copyFile(backup, unfinished);
    const file = await open(unfinished, "r+");
    await file.chmod(0o600);
    await file.close();
    const database = openDatabase({ path: unfinished, incarnation });
    try {
      readMeta(database, "compactRevision");
      database.prepare("UPDATE meta SET value = ? WHERE name = 'incarnation'").run(incarnation);
    } finally {
      // Closing writes the WAL back and removes it: the file is whole by itself.
      database.close();
    }
    await rename(unfinished, path);
    const directory = await open(dirname(path), "r");
    await directory.sync();
    await directory.close();
    return { incarnation };
  } catch (error) {
    await removeFile(unfinished);
    if (error instanceof StoreError) throw new StoreError(error.code, error.message.replaceAll(unfinished, backup), { cause: error });
    throw new StoreError("unavailable", `restoring ${backup} failed: ${String(error)}`, { cause: error });
  }
}

async function removeFile(path: string): Promise<void> {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) await rm(`${path}${suffix}`, { force: true });
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
