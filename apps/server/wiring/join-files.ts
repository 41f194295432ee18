/**
 * What new hosts fetch from this server. Archives of the agent lie in the data folder; this machine's own platform is made there when it is
 * first asked for, others are taken from there or from `dist/`, where `npm run package` puts them.
 */
import { createReadStream } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import type { AgentArchive, JoinFiles } from "@sheaf/server";
import { findArchive, makeArchive, ownPlatform, planArchive, platforms, type Archive, type ArchivePlan } from "../archives/archive.ts";

export interface JoinFilesOptions {
  /** The repository, or an unpacked archive of the server. */
  readonly root: string;
  /** In the data folder. */
  readonly directory: string;
  readonly logger: Logger;
}

export async function openJoinFiles({ root, directory, logger }: JoinFilesOptions): Promise<JoinFiles> {
  const script = await readFile(join(root, "packaging/join.sh"), "utf8");
  let plans: Promise<readonly ArchivePlan[]> | undefined;
  let making: Promise<Archive> | undefined;
  const found = new Map<string, Archive>();

  async function archiveOf(plan: ArchivePlan): Promise<Archive | undefined> {
    const there = (await findArchive(plan, directory)) ?? (await findArchive(plan, join(root, "dist")));
    if (there !== undefined || plan.platform !== ownPlatform) return there;
    making ??= make(plan).finally(() => (making = undefined));
    return making;
  }

  async function make(plan: ArchivePlan): Promise<Archive> {
    const started = performance.now();
    const archive = await makeArchive(root, plan, directory);
    logger.info(
      { file: archive.file, sizeBytes: archive.sizeBytes, durationMs: Math.round(performance.now() - started) },
      "the agent's archive was made",
    );
    // Of earlier versions: the lines that pin them are refused by their script's digest or by this archive's.
    const kept = `${plan.name}.tar.gz`;
    for (const name of await readdir(directory))
      if (name.startsWith("sheaf-agent-") && name.includes(`-${plan.platform}.tar.gz`) && !name.startsWith(kept)) await rm(join(directory, name));
    return archive;
  }

  const opened = (archive: Archive | undefined) => archive && { sizeBytes: archive.sizeBytes, stream: createReadStream(archive.file) };

  const joinFiles: JoinFiles = {
    script,
    async agents() {
      try {
        plans ??= Promise.all(platforms.map((platform) => planArchive(root, "agent", platform)));
        const archives: AgentArchive[] = [];
        for (const plan of await plans) {
          const archive = await archiveOf(plan);
          if (archive === undefined) continue;
          found.set(plan.platform, archive);
          archives.push({ platform: plan.platform, sha256: archive.sha256, sizeBytes: archive.sizeBytes });
        }
        return archives;
      } catch (error) {
        plans = undefined;
        throw new SheafError("internal", `The agent's archive cannot be made: ${error instanceof Error ? error.message : String(error)}`, {
          next: "Look whether the server's disk has room and its installation is whole, then repeat.",
        });
      }
    },
    async open(platform) {
      // After a restart of the server a line that was printed before still works.
      if (!found.has(platform)) await joinFiles.agents();
      return opened(found.get(platform));
    },
    async openDigest(sha256) {
      const held = (): Archive | undefined => [...found.values()].find((archive) => archive.sha256 === sha256);
      if (held() === undefined) await joinFiles.agents();
      return opened(held());
    },
  };
  return joinFiles;
}
