/** Which store a data folder's server has, and how it is opened: said on the command line once, remembered in the folder. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { NodeFiles } from "@sheaf/adapters";
import type { Clock, Logger, Random } from "@sheaf/base";
import { openEtcdStore, openSqliteStore, parseStoreAddress } from "@sheaf/store";
import type { DurableStore, EtcdStore, EtcdStoreOptions, StoreAddress, StoreError } from "@sheaf/store";
import type { DataFolder } from "./data-folder.ts";

export interface StorePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger?: Logger;
}

/** What was given, else what the folder remembers, else its own file. @throws StoreError `invalid` */
export async function storeAddress(
  folder: DataFolder,
  given: string | undefined,
): Promise<{ readonly text: string; readonly address: StoreAddress }> {
  const remembered = (await readFile(folder.storeAddress, "utf8").catch(() => "")).trim();
  const text = given ?? (remembered === "" ? "sqlite" : remembered);
  const address = parseStoreAddress(text);
  // An empty store beside a full one would look like the loss of everything.
  if (address.kind === "etcd" && existsSync(folder.store))
    throw new Error(`${folder.store} holds this server's store. Move it: sheaf store migrate --from sqlite --to '${text}'`);
  if (address.kind === "sqlite" && !existsSync(folder.store) && remembered !== "" && remembered !== "sqlite")
    throw new Error(`This server's store is at ${remembered}. Move it: sheaf store migrate --from '${remembered}' --to sqlite`);
  return { text, address };
}

/** Later starts and programs need not be told. */
export async function rememberStore(folder: DataFolder, text: string): Promise<void> {
  const files = new NodeFiles();
  if (text === "sqlite") await files.remove(folder.storeAddress);
  else await files.writeAtomic(folder.storeAddress, `${text}\n`);
}

/** @throws StoreError */
export type OpenStore = (folder: DataFolder, address: StoreAddress, ports: StorePorts, failed?: (error: StoreError) => void) => Promise<DurableStore>;

export const openStore: OpenStore = (folder, address, ports, failed = () => {}) =>
  address.kind === "sqlite" ? openSqliteStore({ path: folder.store, ...ports, failed }) : openEtcd(folder, address, ports, { failed });

/** Paths of certificates are the data folder's where they are not absolute. */
export function openEtcd(
  folder: DataFolder,
  { endpoints, prefix, tls }: Extract<StoreAddress, { kind: "etcd" }>,
  ports: StorePorts,
  more: Pick<EtcdStoreOptions, "failed" | "purpose">,
): Promise<EtcdStore> {
  return openEtcdStore({
    endpoints,
    prefix,
    ...(tls === null
      ? {}
      : {
          tls: async () => ({
            authority: await readFile(resolve(folder.root, tls.authority)),
            ...(tls.certificate === undefined || tls.key === undefined
              ? {}
              : { certificate: await readFile(resolve(folder.root, tls.certificate)), key: await readFile(resolve(folder.root, tls.key)) }),
          }),
        }),
    ...ports,
    ...more,
  });
}
