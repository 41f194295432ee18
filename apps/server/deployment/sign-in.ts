/** Signs the local command line in: what `sheaf login` would write, for the user who ran `npm start`. */
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { LocalClient } from "./local-client.ts";
import type { ServerFacts } from "./server-process.ts";

export async function signInCommandLine(server: ServerFacts, client: LocalClient): Promise<void> {
  const path = process.env["SHEAF_CONFIG"] ?? join(process.env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config"), "sheaf", "config.json");
  const text = await readFile(path, "utf8").catch(() => "{}");
  const config = JSON.parse(text) as { servers?: Record<string, unknown> }; // the command line's own file
  const url = `https://127.0.0.1:${server.port}`;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const servers = { ...config.servers, [url]: { token: client.sessionToken, authority: client.authority, user: "admin" } };
  await writeFile(`${path}.new`, `${JSON.stringify({ ...config, current: url, servers }, null, 2)}\n`, { mode: 0o600 });
  await chmod(`${path}.new`, 0o600);
  await rename(`${path}.new`, path);
}
