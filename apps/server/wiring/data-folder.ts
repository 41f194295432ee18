/** The server's data folder: what lies where, and what is made at the first start. */
import { join } from "node:path";
import { NodeFiles, systemRandom } from "@sheaf/adapters";

export interface DataFolder {
  readonly root: string;
  readonly store: string;
  /** Where the store is when it is not that file. */
  readonly storeAddress: string;
  readonly keys: string;
  readonly audit: string;
  readonly images: string;
  readonly backups: string;
  /** Archives of the agent, for new hosts. */
  readonly agents: string;
  readonly facts: string;
  readonly authority: string;
  readonly adminPassword: string;
}

export function dataFolder(root: string): DataFolder {
  const at = (name: string): string => join(root, name);
  return {
    root,
    store: at("store.sqlite"),
    storeAddress: at("store-address"),
    keys: at("keys"),
    audit: at("audit"),
    images: at("images"),
    backups: at("backups"),
    agents: at("agents"),
    facts: at("server.json"),
    authority: at("authority.pem"),
    adminPassword: at("admin-password"),
  };
}

/** What tells this data folder's server from every other, whatever it is called. */
export async function serverId(folder: DataFolder, make: () => string): Promise<string> {
  const files = new NodeFiles();
  const path = join(folder.root, "server-id");
  const kept = await files.readText(path);
  if (kept !== null) return kept.trim();
  const id = make();
  await files.writeAtomic(path, `${id}\n`);
  return id;
}

/** Makes what is missing. @returns the key of the sealed secrets */
export async function openDataFolder(folder: DataFolder): Promise<Uint8Array> {
  const files = new NodeFiles();
  for (const path of [folder.root, folder.keys, folder.images, folder.backups, folder.agents]) await files.makeDirectory(path, 0o700);
  const path = join(folder.keys, "secrets.key");
  const kept = await files.read(path);
  if (kept) return kept;
  const key = systemRandom.bytes(32);
  await files.writeAtomic(path, key);
  return key;
}
