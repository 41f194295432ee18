/** Signs the local command line in, as `sheaf login` would, for the user who ran `npm start`; and out again when the site is purged. */
import { rm } from "node:fs/promises";
import { configPath, readConfig, writeConfig } from "../../cli/config-file.ts";
import type { LocalClient } from "./local-client.ts";
import type { ServerFacts } from "./server-process.ts";

export async function signInCommandLine(server: ServerFacts, client: LocalClient): Promise<void> {
  const path = configPath(process.env);
  const config = await readConfig(path);
  const url = `https://127.0.0.1:${server.port}`;
  const servers = { ...config.servers, [url]: { token: client.sessionToken, authority: client.authority, user: "admin" } };
  await writeConfig(path, { ...config, current: url, servers });
}

/** Forgets what is kept of servers with this authority (PEM), and the file where it held nothing else. */
export async function signOutCommandLine(authority: string): Promise<void> {
  const path = configPath(process.env);
  const { current, servers: known, ...others } = await readConfig(path);
  const servers = Object.fromEntries(Object.entries(known).filter(([, server]) => server.authority !== authority));
  if (Object.keys(servers).length === Object.keys(known).length) return;
  if (Object.keys(servers).length === 0) return rm(path);
  await writeConfig(path, { ...others, ...(current !== undefined && current in servers ? { current } : {}), servers });
}
