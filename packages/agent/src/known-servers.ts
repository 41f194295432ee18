/** The agents' ports of all servers, as the server told them last: kept on the disk, read by the agent at its start and by the pulse beside it. */
import type { Files } from "./ports.ts";

const serversFile = (dataDirectory: string): string => `${dataDirectory}/servers.json`;

/** Empty where nothing was told yet, or what is there cannot be read. */
export async function readServers(files: Pick<Files, "readText">, dataDirectory: string): Promise<string[]> {
  try {
    const servers: unknown = JSON.parse((await files.readText(serversFile(dataDirectory))) ?? "[]");
    return Array.isArray(servers) ? servers.filter((each) => typeof each === "string") : [];
  } catch {
    return [];
  }
}

export function writeServers(files: Pick<Files, "writeAtomic">, dataDirectory: string, servers: readonly string[]): Promise<void> {
  return files.writeAtomic(serversFile(dataDirectory), JSON.stringify(servers));
}
