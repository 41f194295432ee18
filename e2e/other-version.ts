/** The same program as another version, as an upgraded server has it: a tree that a server runs from, and makes its agents' archives of. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { archiveFile, ownPlatform, planArchive } from "../apps/server/archives/archive.ts";
import { archiveContents } from "../apps/server/archives/contents.ts";

const execute = promisify(execFile);
const root = join(import.meta.dirname, "..");

export async function plantVersion(version: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const node = ["LICENSE", "package.json", "bin/node"].map((path) => `node_modules/node-${ownPlatform}/${path}`);
  const list = `${folder}.files`;
  await writeFile(list, [...(await archiveContents(root, "server")), ...node].join("\n"));
  await execute("sh", ["-ec", 'tar -C "$1" -cf - -T "$2" | tar -C "$3" -xf -', "sh", root, list, folder]);
  const manifest = join(folder, "package.json");
  const text = await readFile(manifest, "utf8");
  await writeFile(manifest, text.replace(/"version": "[^"]*"/, `"version": "${version}"`));
}

/**
 * In place of the archive that a server with that tree would make: an agent that passes its own test, and dies as soon as it is really started.
 * @param directory the server's `agents/`. @returns how it is taken out again
 */
export async function plantBrokenAgent(tree: string, directory: string): Promise<() => Promise<void>> {
  if (ownPlatform === undefined) throw new Error("There is no agent for this platform.");
  const plan = await planArchive(tree, "agent", ownPlatform);
  const file = archiveFile(plan, directory);
  const scratch = await mkdtemp(join(tmpdir(), "sheaf-broken-"));
  const node = join(scratch, plan.name, "node_modules/.bin/node");
  await mkdir(join(node, ".."), { recursive: true });
  await writeFile(node, '#!/bin/sh\ncase " $* " in *" --self-test "*) exit 0 ;; esac\nexit 3\n');
  await chmod(node, 0o755);
  await execute("tar", ["-czf", file, "-C", scratch, plan.name]);
  const sha256 = createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
  await writeFile(`${file}.sha256`, `${sha256}  ${plan.name}.tar.gz\n`);
  await rm(scratch, { recursive: true });
  return async () => {
    for (const path of [file, `${file}.sha256`]) await rm(path);
  };
}
