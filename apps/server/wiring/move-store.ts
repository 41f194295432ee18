/**
 * Moves a store to another place, and puts backups in a store's place. Both with every server stopped. What was there before stays where
 * it is until the copy was read back and found equal; afterwards nobody can start from it by mistake.
 */
import { existsSync } from "node:fs";
import { copyFile, mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "@sheaf/base";
import { leaderKey } from "@sheaf/model";
import { copyStore, digestStore, openSqliteStore, restoreSqliteStore, StoreError } from "@sheaf/store";
import type { DurableStore, EtcdStore, Store, StoreAddress, StoreDigest } from "@sheaf/store";
import type { DataFolder } from "./data-folder.ts";
import { openEtcd } from "./open-store.ts";
import type { StorePorts } from "./open-store.ts";

export interface Moved extends StoreDigest {
  readonly incarnation: string;
  /** Where what was there before lies now, if it still does. */
  readonly aside: string | null;
}

/** @throws StoreError, Error; nothing has changed then */
export async function moveStore(folder: DataFolder, from: StoreAddress, to: StoreAddress, ports: StorePorts): Promise<Moved> {
  if (from.kind === "sqlite" && !existsSync(folder.store)) throw new StoreError("invalid", `there is no store at ${folder.store}`);
  if (from.kind === "sqlite" && to.kind === "sqlite") throw new StoreError("invalid", "the store is in SQLite already");
  if (to.kind === "sqlite" && existsSync(folder.store)) throw new StoreError("invalid", `${folder.store} exists already; a move overwrites nothing`);
  if (from.kind === "sqlite") {
    const source = await openSqliteStore({ path: folder.store, ...ports });
    const done = await closing(source, () => fill(source, folder, to, "fill", ports));
    const aside = `${folder.store}.moved-${stamp(ports.clock)}`;
    await rename(folder.store, aside);
    return { ...done, aside };
  }
  const source = await openEtcd(folder, from, ports, { purpose: "move" });
  return closing(source, async () => {
    await assertNobodyServes(source);
    const done = await fill(source, folder, to, "fill", ports);
    await source.setState("moved");
    return { ...done, aside: null };
  });
}

/** Puts a backup in the place of the store in etcd; what was there is kept as a backup itself. The backup's file stays as it is. */
export async function restoreToEtcd(
  folder: DataFolder,
  to: Extract<StoreAddress, { kind: "etcd" }>,
  backup: string,
  ports: StorePorts,
): Promise<Moved> {
  const aside = await keepAside(folder, to, ports);
  // A copy is opened: opening writes.
  const opened = join(folder.backups, `restoring-${process.pid}.sqlite`);
  await mkdir(dirname(opened), { recursive: true, mode: 0o700 });
  try {
    await copyFile(backup, opened);
    const source = await openSqliteStore({ path: opened, ...ports });
    return { ...(await closing(source, () => fill(source, folder, to, "replace", ports))), aside };
  } catch (error) {
    if (aside === null) throw error;
    throw new Error(`${error instanceof Error ? error.message : String(error)}. What was there lies in ${aside}: restore that, or try again`, {
      cause: error,
    });
  } finally {
    for (const suffix of ["", "-wal", "-shm"]) await rm(`${opened}${suffix}`, { force: true });
  }
}

/** @returns the backup of what is there; `null` where nothing usable is */
async function keepAside(folder: DataFolder, from: Extract<StoreAddress, { kind: "etcd" }>, ports: StorePorts): Promise<string | null> {
  let present: EtcdStore;
  try {
    present = await openEtcd(folder, from, ports, { purpose: "move" });
  } catch (error) {
    // Nothing there, half filled, or moved away: nothing that is used would be lost.
    if (error instanceof StoreError && error.code === "invalid") return null;
    throw error;
  }
  return closing(present, async () => {
    await assertNobodyServes(present);
    const path = join(folder.backups, `before-restore-${stamp(ports.clock)}.sqlite`);
    await mkdir(folder.backups, { recursive: true, mode: 0o700 });
    await present.backup(path);
    return path;
  });
}

/** Copies, reads back, compares; only then the new place is one that a server starts from. */
async function fill(
  source: DurableStore,
  folder: DataFolder,
  to: StoreAddress,
  purpose: "fill" | "replace",
  ports: StorePorts,
): Promise<StoreDigest & { readonly incarnation: string }> {
  if (to.kind === "etcd") {
    const target = await openEtcd(folder, to, ports, { purpose });
    return closing(target, async () => {
      const digest = await copyAndCompare(source, target);
      await target.setState("ready");
      return { ...digest, incarnation: target.incarnation };
    });
  }
  const unfinished = `${folder.store}.moving`;
  const remove = async (): Promise<void> => {
    for (const suffix of ["", "-wal", "-shm"]) await rm(`${unfinished}${suffix}`, { force: true });
  };
  await remove();
  try {
    const target = await openSqliteStore({ path: unfinished, ...ports });
    const digest = await closing(target, () => copyAndCompare(source, target));
    // A restore of the copy gives it its place, durably, and a life of its own.
    const { incarnation } = await restoreSqliteStore({ backup: unfinished, path: folder.store, ...ports });
    return { ...digest, incarnation };
  } finally {
    await remove();
  }
}

async function copyAndCompare(source: DurableStore, target: Store): Promise<StoreDigest> {
  const copied = await copyStore(source, target);
  const found = await digestStore(target);
  if (found.sha256 !== copied.sha256 || found.keys !== copied.keys)
    throw new StoreError(
      "corrupt",
      `the copy differs from what was copied (${found.keys} keys instead of ${copied.keys}); the store stays where it is`,
    );
  return found;
}

/** Servers hold the lead with a lease; one that was killed has lost it within ten seconds. */
async function assertNobodyServes(store: Store): Promise<void> {
  const leader = await store.get(leaderKey("controllers"));
  if (leader !== null) throw new StoreError("locked", `a server is running (${leader.value}): stop all servers, or wait 10 s after a crash`);
}

async function closing<Value>(store: Store, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } finally {
    await store.close();
  }
}

const stamp = (clock: Clock): string => new Date(clock.now()).toISOString().replaceAll(":", "-");
