/** The agents' ports of all servers, as the server told them last: kept on the disk, read by the agent and by the pulse beside it. */
import type { Files } from "./ports.ts";

/** Its name among the agent's notes. */
export const serversNote = "servers";

export const serversOf = (note: unknown): string[] => (Array.isArray(note) ? note.filter((each) => typeof each === "string") : []);

/** Empty where nothing was told yet, or what is there cannot be read. */
export async function readServers(files: Pick<Files, "readText">, dataDirectory: string): Promise<string[]> {
  try {
    return serversOf(JSON.parse((await files.readText(`${dataDirectory}/notes/${serversNote}.json`)) ?? "[]"));
  } catch {
    return [];
  }
}
