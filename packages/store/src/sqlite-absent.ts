/** Files that must not be there yet. Called by what writes backups. */
import { stat } from "node:fs/promises";
import { StoreError } from "./store.ts";

/** @throws StoreError `invalid` */
export async function assertAbsent(path: string): Promise<void> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (exists) throw new StoreError("invalid", `${path} exists already; give the backup a new name`);
}
