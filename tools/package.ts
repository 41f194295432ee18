/**
 * `npm run package [-- --platform linux-x64] [--out DIR]`: the archives of server and agent for each platform, with their checksums, in
 * `dist/`. Node for another platform than this machine's is fetched by npm under its locked name, version and integrity.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";
import { findArchive, makeArchive, ownPlatform, planArchive, platforms, type NodePackage } from "../apps/server/archives/archive.ts";
import { programs } from "../apps/server/archives/contents.ts";

const root = join(import.meta.dirname, "..");
const execute = promisify(execFile);
const { values } = parseArgs({
  options: { platform: { type: "string", multiple: true }, out: { type: "string", default: join(root, "dist") } },
});
const wanted = platforms.filter((platform) => values.platform === undefined || values.platform.includes(platform));
if (wanted.length === 0 || wanted.length < (values.platform?.length ?? 0)) {
  process.stderr.write(`--platform is one of ${platforms.join(", ")}.\n`);
  process.exit(2);
}
const out = resolve(values.out);

/** @returns a folder with `node_modules/<name>`, as npm would install it on that platform */
async function fetchNode(node: NodePackage): Promise<string> {
  process.stderr.write(`fetching ${node.name} ${node.version} …\n`);
  const folder = await mkdtemp(join(tmpdir(), "sheaf-node-"));
  const { stdout } = await execute("npm", ["pack", `${node.name}@${node.version}`, "--silent", "--pack-destination", folder], { cwd: folder });
  const file = join(folder, stdout.trim().split("\n").at(-1) ?? "");
  const integrity = `sha512-${createHash("sha512")
    .update(await readFile(file))
    .digest("base64")}`;
  if (integrity !== node.integrity) throw new Error(`${node.name}@${node.version} is not the one in package-lock.json: ${integrity}`);
  const target = join(folder, "node_modules", node.name);
  await mkdir(target, { recursive: true });
  await execute("tar", ["-xzf", file, "--strip-components=1", "-C", target]);
  return folder;
}

for (const platform of wanted) {
  let fetched: string | undefined;
  try {
    for (const program of programs) {
      const started = performance.now();
      const plan = await planArchive(root, program, platform);
      const there = await findArchive(plan, out);
      if (there === undefined && platform !== ownPlatform) fetched ??= await fetchNode(plan.node);
      const { file, sha256, sizeBytes } = there ?? (await makeArchive(root, plan, out, fetched));
      const how = there === undefined ? `made in ${((performance.now() - started) / 1000).toFixed(1)} s` : "there already";
      process.stdout.write(`${sha256}  ${file}  (${(sizeBytes / 2 ** 20).toFixed(1)} MiB, ${how})\n`);
    }
  } finally {
    if (fetched !== undefined) await rm(fetched, { recursive: true, force: true });
  }
}
