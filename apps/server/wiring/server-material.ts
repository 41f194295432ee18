/** What servers of one site share beyond the store: read for a server that joins, written by it before its first start. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { NodeFiles, pinnedPost } from "@sheaf/adapters";
import { apiPrefix, routes } from "@sheaf/contract";
import type { ServerMaterial } from "@sheaf/server";
import type { StoreAddress } from "@sheaf/store";
import type { DataFolder } from "./data-folder.ts";
import { rememberStore } from "./open-store.ts";

const shared = ["keys/secrets.key", "keys/authority.json"];
const storeFiles = { authority: "keys/etcd-ca.pem", certificate: "keys/etcd-cert.pem", key: "keys/etcd-key.pem" } as const;

/** @returns `null` for a store that one server has for itself */
export async function readMaterial(folder: DataFolder, address: StoreAddress): Promise<ServerMaterial | null> {
  if (address.kind === "sqlite") return null;
  const files: Record<string, string> = {};
  const read = async (name: string, path: string): Promise<void> => {
    files[name] = (await readFile(path)).toString("base64");
  };
  for (const name of shared) await read(name, join(folder.root, name));
  const { endpoints, prefix, tls } = address;
  const place = `${endpoints.join(",")}/${prefix}`;
  if (tls === null) return { store: `etcd://${place}`, files };
  await read(storeFiles.authority, resolve(folder.root, tls.authority));
  if (tls.certificate === undefined || tls.key === undefined) return { store: `etcds://${place}?ca=${storeFiles.authority}`, files };
  await read(storeFiles.certificate, resolve(folder.root, tls.certificate));
  await read(storeFiles.key, resolve(folder.root, tls.key));
  return { store: `etcds://${place}?ca=${storeFiles.authority}&cert=${storeFiles.certificate}&key=${storeFiles.key}`, files };
}

export interface JoinOptions {
  /** `https://name:7443` of a server that runs. */
  readonly server: string;
  readonly token: string;
  readonly fingerprint: string;
  readonly name: string;
}

/** Does nothing where the folder has joined before. @throws Error */
export async function joinSite(folder: DataFolder, { server, token, fingerprint, name }: JoinOptions): Promise<void> {
  if (existsSync(join(folder.root, "keys/secrets.key"))) return;
  const answer = await pinnedPost({ server, path: `${apiPrefix}${routes.server.join.path}`, fingerprint, body: { token, name } });
  const content: unknown = JSON.parse(answer.text);
  if (answer.status >= 300) {
    const problem = content as { detail?: string; next?: string }; // problem details, as every refusal of the API
    throw new Error(`the server at ${server} refused: ${problem.detail ?? answer.status} ${problem.next ?? ""}`);
  }
  const { store, files } = routes.server.join.output.parse(content);
  const disk = new NodeFiles();
  const known = new Set<string>([...shared, ...Object.values(storeFiles)]);
  // The key of the secrets last: with it the folder counts as joined.
  for (const path of Object.keys(files).toSorted((left, right) => Number(left === shared[0]) - Number(right === shared[0]))) {
    if (!known.has(path)) continue;
    await disk.makeDirectory(dirname(join(folder.root, path)), 0o700);
    if (path === shared[0]) await rememberStore(folder, store);
    await disk.writeAtomic(join(folder.root, path), Buffer.from(files[path] ?? "", "base64"));
  }
}
