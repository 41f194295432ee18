/**
 * Archives of Sheaf's programs, complete with their own Node: unpack and run. The same tree gives the same bytes on any machine (names
 * sorted, times and owners zero, compressed by our own Node), and the name tells what went in, so that one that is there is never stale.
 * Made by `npm run package`, and by the server for new hosts. Needs GNU tar.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { lstat, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { z } from "zod";
import { archiveContents, contentOf, type Program } from "./contents.ts";

export const platforms = ["linux-x64", "linux-arm64"] as const;
export type Platform = (typeof platforms)[number];
export const ownPlatform = platforms.find((platform) => platform === `${process.platform}-${process.arch}`);

export interface ArchivePlan {
  readonly program: Program;
  readonly platform: Platform;
  /** `sheaf-agent-0.1.0-3f9a2c1b7d04-linux-x64`: version, and 12 digits of the digest of what goes in. */
  readonly name: string;
  readonly version: string;
  readonly node: NodePackage;
  readonly files: readonly string[];
}

export interface Archive {
  readonly file: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Node as npm carries it. */
export interface NodePackage {
  readonly name: string;
  readonly version: string;
  /** As in the lock file: `sha512-<base64>`. */
  readonly integrity: string;
}

const Lock = z.looseObject({ packages: z.record(z.string(), z.looseObject({ version: z.string().optional(), integrity: z.string().optional() })) });
const nodeFiles = ["LICENSE", "bin/node", "package.json"];

/** Which Node belongs to a platform: the lock file's, also for platforms whose Node is not installed here. */
async function nodePackage(root: string, platform: Platform): Promise<NodePackage> {
  const name = `node-${platform}`;
  const locked = Lock.parse(JSON.parse(await readFile(join(root, "package-lock.json"), "utf8"))).packages[`node_modules/${name}`];
  if (locked?.version === undefined || locked.integrity === undefined) throw new Error(`package-lock.json does not name ${name}`);
  return { name, version: locked.version, integrity: locked.integrity };
}

/** Reads everything that would go in, Node aside: it stands by its name, version and integrity. */
export async function planArchive(root: string, program: Program, platform: Platform): Promise<ArchivePlan> {
  const { version } = z.looseObject({ version: z.string() }).parse(JSON.parse(await readFile(join(root, "package.json"), "utf8")));
  const node = await nodePackage(root, platform);
  const files = await archiveContents(root, program);
  const digest = createHash("sha256").update(`${program} ${version} ${node.name} ${node.version} ${node.integrity}\n`);
  for (const path of files) {
    const { kind, content } = await contentOf(root, path);
    digest.update(`${path}\0${kind}\0${content.byteLength}\0`).update(content);
  }
  const name = `sheaf-${program}-${version}-${digest.digest("hex").slice(0, 12)}-${platform}`;
  return { program, platform, name, version, node, files };
}

export const archiveFile = (plan: ArchivePlan, directory: string): string => join(directory, `${plan.name}.tar.gz`);

/** @returns `undefined` where it was not made yet, or not to its end */
export async function findArchive(plan: ArchivePlan, directory: string): Promise<Archive | undefined> {
  const file = archiveFile(plan, directory);
  const sum = await readFile(`${file}.sha256`, "utf8").catch(() => "");
  const sha256 = /^([0-9a-f]{64}) {2}/.exec(sum)?.[1];
  const facts = await lstat(file).catch(() => null);
  return sha256 === undefined || facts === null ? undefined : { file, sha256, sizeBytes: facts.size };
}

/**
 * Writes `<name>.tar.gz` and `<name>.tar.gz.sha256`; whole or not at all.
 * @param nodeRoot where `node_modules/node-<platform>` is installed; `root` for this machine's own platform
 */
export async function makeArchive(root: string, plan: ArchivePlan, directory: string, nodeRoot = root): Promise<Archive> {
  await mkdir(directory, { recursive: true });
  const scratch = await mkdtemp(join(tmpdir(), "sheaf-archive-"));
  const file = archiveFile(plan, directory);
  const part = `${file}.${basename(scratch)}`;
  try {
    const { name } = plan.node;
    const made = join(scratch, "made");
    await mkdir(join(made, "node_modules/.bin"), { recursive: true });
    await symlink(`../${name}/bin/node`, join(made, "node_modules/.bin/node"));
    await writeFile(join(made, "archive.json"), `${JSON.stringify({ name: plan.name, version: plan.version, node: plan.node.version })}\n`);
    const lists: [string, readonly string[]][] = [
      [root, plan.files],
      [nodeRoot, nodeFiles.map((path) => `node_modules/${name}/${path}`)],
      [made, ["archive.json", "node_modules/.bin/node"]],
    ];
    const words: string[] = [];
    for (const [index, [base, files]] of lists.entries()) {
      const list = join(scratch, `list-${index}`);
      await writeFile(list, files.map((each) => `${each}\0`).join(""));
      words.push("-C", base, "-T", list);
    }
    await pack(["--transform", `flags=r;s,^,${plan.name}/,`, "--null", ...words], part);
    const sha256 = await digestOf(part);
    const { size: sizeBytes } = await lstat(part);
    await writeFile(`${file}.sha256`, `${sha256}  ${basename(file)}\n`);
    await rename(part, file);
    return { file, sha256, sizeBytes };
  } finally {
    await rm(part, { force: true });
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Format ustar and zeros: nothing of this machine, its user or its clock gets in. */
async function pack(words: readonly string[], file: string): Promise<void> {
  const plain = ["--create", "--format=ustar", "--no-recursion", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
  const child = spawn("tar", [...plain, ...words], { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C" } });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (complaint += chunk));
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", (error) => reject(new Error(`tar cannot be run: ${error.message}`)));
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`tar failed: ${complaint.trim().slice(-1000)}`))));
  });
  await Promise.all([ended, pipeline(child.stdout, createGzip({ level: 6 }), createWriteStream(file, { mode: 0o644 }))]);
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer); // no encoding is set
  return hash.digest("hex");
}
