/**
 * What goes into an archive: a program's own sources, the packages it depends on and nothing else, each at its place in the repository,
 * so that the unpacked archive is a repository of its own that runs as it stands. Sorted, so that the same tree gives the same list.
 */
import { lstat, readdir, readFile, readlink, realpath } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { z } from "zod";

export const programs = ["agent", "server"] as const;
export type Program = (typeof programs)[number];

/** The server brings the command line, and the agent, of which it makes archives for new hosts. */
const contents: Readonly<Record<Program, { readonly apps: readonly string[]; readonly also: readonly string[] }>> = {
  agent: { apps: ["agent"], also: ["LICENSE", "packaging/README.md", "packaging/agent", "packaging/uninstall-agent.sh"] },
  server: {
    apps: ["server", "cli", "agent"],
    also: ["LICENSE", "README.md", "package.json", "package-lock.json", "sheaf", "packaging"],
  },
};

const Manifest = z.looseObject({
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
  peerDependencies: z.record(z.string(), z.string()).default({}),
});

/** Tests, and what only tests call; the linter keeps programs from importing it. */
const isForTests = (path: string): boolean => /\.(test|test-support|bench|fixture)\.ts$|(^|\/)(testing|golden|fixtures|dist)(\/|$)/.test(path);
/** Of packages from npm: what is only for editors and debuggers. */
const isForTools = (path: string): boolean => /\.(d\.[cm]?ts|map)$/.test(path);

/** @returns paths of files and links relative to `root`, sorted. Node itself is not among them. */
export async function archiveContents(root: string, program: Program): Promise<readonly string[]> {
  const found = new Set<string>();
  const visited = new Set<string>();
  const { apps, also } = contents[program];
  for (const path of also) for (const file of await filesBelow(root, path)) if (!isForTests(file)) found.add(file);

  const addPackage = async (directory: string): Promise<void> => {
    if (visited.has(directory)) return;
    visited.add(directory);
    const inside = relative(root, directory);
    const own = !inside.includes("node_modules");
    for (const file of await filesBelow(root, inside)) if (!(own ? isForTests(file) : isForTools(file))) found.add(file);
    const manifest = Manifest.parse(JSON.parse(await readFile(join(directory, "package.json"), "utf8")));
    for (const name of Object.keys(manifest.dependencies)) {
      const installed = await resolvePackage(root, directory, name);
      if (installed === undefined) throw new Error(`${inside} needs the package ${name}, which is not installed: run npm ci`);
      await add(installed);
    }
    for (const name of Object.keys({ ...manifest.optionalDependencies, ...manifest.peerDependencies })) {
      const installed = await resolvePackage(root, directory, name);
      if (installed !== undefined) await add(installed);
    }
  };
  const add = async (installed: string): Promise<void> => {
    if ((await lstat(installed)).isSymbolicLink()) found.add(relative(root, installed));
    await addPackage(await realpath(installed));
  };
  for (const app of apps) await addPackage(join(root, "apps", app));
  return [...found].sort();
}

/** As Node looks for it: the nearest `node_modules` upwards. */
async function resolvePackage(root: string, from: string, name: string): Promise<string | undefined> {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, "node_modules", name);
    if (await lstat(candidate).catch(() => null)) return candidate;
    if (directory === root || directory === dirname(directory)) return undefined;
  }
}

/** Files and links below a path, or the path itself; not into `node_modules`: what of it is needed is found by its dependents. */
async function filesBelow(root: string, path: string): Promise<string[]> {
  const facts = await lstat(join(root, path));
  if (!facts.isDirectory()) return [path];
  const found: string[] = [];
  for (const entry of await readdir(join(root, path), { withFileTypes: true })) {
    if (entry.name === "node_modules") continue;
    found.push(...(entry.isDirectory() ? await filesBelow(root, join(path, entry.name)) : [join(path, entry.name)]));
  }
  return found;
}

/** What stands for a file's content when two trees are compared: its bytes and whether it is a program, or where a link points. */
export async function contentOf(root: string, path: string): Promise<{ readonly kind: string; readonly content: Uint8Array }> {
  const facts = await lstat(join(root, path));
  if (facts.isSymbolicLink()) return { kind: "link", content: Buffer.from(await readlink(join(root, path))) };
  return { kind: facts.mode & 0o111 ? "program" : "file", content: await readFile(join(root, path)) };
}
