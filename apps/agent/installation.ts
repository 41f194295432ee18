/** How this agent's own files lie: an archive that joining unpacked, or a repository. Asked by main.ts at the start. */
import { basename, join } from "node:path";
import { realpathSync } from "node:fs";
import { ArchiveInstallation, type ArchiveInstallationOptions, type Files, fixedInstallation, type Installation } from "@sheaf/agent";

const root = realpathSync(join(import.meta.dirname, "../.."));
const platform = `${process.platform}-${process.arch}`;

export interface OwnArchive {
  readonly version: string;
  /** SHA-256, as joining or an upgrade has noted it. */
  readonly archive: string | undefined;
  /** From an archive, not from a repository. */
  readonly packed: boolean;
}

export async function readOwnArchive(files: Files): Promise<OwnArchive> {
  const packed = await files.readText(join(root, "archive.json"));
  const { version } = JSON.parse(packed ?? (await files.readText(join(root, "package.json"))) ?? "{}") as { version?: string }; // written by packaging, or by us
  const archive = (await files.readText(join(root, "archive.sha256")))?.trim();
  return { version: version ?? "0.0.0", archive: archive === "" ? undefined : archive, packed: packed !== null };
}

/** @param wanted `programs`: given by the start script, and only by it */
export function installationOf(
  { archive, packed }: Omit<OwnArchive, "version">,
  wanted: Omit<ArchiveInstallationOptions, "folder" | "platform" | "archive" | "programs"> & { readonly programs: string | undefined },
): Installation {
  const { programs } = wanted;
  if (!packed)
    return fixedInstallation("its agent runs from source files, as `npm start` does it: start it anew from the new ones", { platform, archive });
  if (programs === undefined || archive === undefined)
    return fixedInstallation(
      "its agent was installed without the script that goes back to the version before: run a new line of `sheaf host add` on it, once",
      { platform, archive },
    );
  return new ArchiveInstallation({ ...wanted, programs, folder: basename(root), platform, archive });
}
