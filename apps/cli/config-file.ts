/** The servers this user has signed in to: `$SHEAF_CONFIG`, else `~/.config/sheaf/config.json`; readable by its owner alone. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { SheafError } from "@sheaf/model";
import type { Connection } from "./cli.ts";

export interface ConfigFile {
  /** URL of the server used when none is named. */
  readonly current?: string;
  readonly servers: Readonly<Record<string, Omit<Connection, "url">>>;
}

export function configPath(environment: Readonly<Record<string, string | undefined>>): string {
  return (
    environment["SHEAF_CONFIG"] ?? join(environment["XDG_CONFIG_HOME"] ?? join(environment["HOME"] ?? homedir(), ".config"), "sheaf", "config.json")
  );
}

/** @throws SheafError `invalid-input` where the file is not what this program wrote. */
export async function readConfig(path: string): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch {
    return { servers: {} };
  }
  try {
    const config = JSON.parse(text) as ConfigFile; // checked in the next line
    if (typeof config.servers === "object" && config.servers !== null) return config;
  } catch {
    // Told below.
  }
  throw new SheafError("invalid-input", `The configuration file ${path} cannot be read: it is not valid.`, {
    next: "Move it away and run `sheaf login` again.",
  });
}

export async function writeConfig(path: string, config: ConfigFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Which server a command talks to: `--server` or `$SHEAF_SERVER`, else the one last signed in to. `$SHEAF_TOKEN` wins over the kept token. */
export function chooseConnection(
  config: ConfigFile,
  wanted: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Connection {
  const named = wanted ?? environment["SHEAF_SERVER"];
  const url = named === undefined ? config.current : serverUrl(named);
  if (url === undefined)
    throw new SheafError("unauthenticated", "No server is known.", { next: "Run `sheaf login https://SERVER:7443`, or name one with --server." });
  const kept = config.servers[url] ?? {};
  const token = environment["SHEAF_TOKEN"] ?? kept.token;
  return { ...kept, url, ...(token === undefined ? {} : { token }) };
}

/** @throws SheafError `invalid-input` for what is no address of a server */
export function serverUrl(address: string): string {
  try {
    const url = new URL(/^[a-z]+:\/\//i.test(address) ? address : `https://${address}`);
    if (url.protocol === "https:") return url.origin;
  } catch {
    // Told below.
  }
  throw new SheafError("invalid-input", `${address} is no address of a server.`, { next: "Give it as https://HOST:7443." });
}
