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
  /** Figures over time. */
  readonly telemetry: string;
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
    telemetry: at("telemetry"),
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

/** Stands in the folder of a simulated data centre. */
export const simulatedMark = "simulated";

/**
 * Makes what is missing. @returns the key of the sealed secrets
 * @throws Error for a folder of the other sort: what is simulated and what is real never lie together
 */
export async function openDataFolder(folder: DataFolder, simulated = false): Promise<Uint8Array> {
  const files = new NodeFiles();
  const marked = (await files.facts(join(folder.root, simulatedMark))) !== null;
  if (marked && !simulated) throw new Error(`${folder.root} holds a simulated data centre: take another folder, or remove it`);
  if (!marked && simulated && (await files.facts(folder.store)) !== null)
    throw new Error(`${folder.root} holds a real site: a simulated data centre takes another folder`);
  for (const path of [folder.root, folder.keys, folder.images, folder.backups, folder.agents]) await files.makeDirectory(path, 0o700);
  if (simulated) await files.writeAtomic(join(folder.root, simulatedMark), "hosts and machines of this folder are simulated\n");
  const path = join(folder.keys, "secrets.key");
  const kept = await files.read(path);
  if (kept) return kept;
  const key = systemRandom.bytes(32);
  await files.writeAtomic(path, key);
  return key;
}
