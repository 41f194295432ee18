/**
 * Builds the small bootable guest image `mini` from Debian packages, in about six seconds, and keeps it: a second call with the same
 * sources is instant. Called at Sheaf's first start (it is imported as image `mini`), by tests and by benchmarks.
 * Needs the packages of `guest` in tools/system-packages.json, an x86-64 Debian or Ubuntu, and root.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { silentLogger } from "@sheaf/base";
import type { Logger } from "@sheaf/base";
import { run } from "./command.ts";
import { withFileLock } from "./file-lock.ts";
import { LabError } from "./lab-error.ts";

export interface GuestImage {
  /** Uncompressed kernel with a PVH entry, for direct kernel boot. */
  readonly kernel: string;
  readonly initrd: string;
  /** `mini.qcow2`, 76 MiB: boots by itself (BIOS) from virtio-blk, virtio-scsi and IDE disks. */
  readonly disk: string;
}

/** Where tests and benchmarks of this repository keep the built image; `npm ci` empties it. */
export const GUEST_IMAGE_CACHE = join(import.meta.dirname, "../../../node_modules/.cache/sheaf/mini");

const SOURCE = join(import.meta.dirname, "guest");
const BUILD_TIMEOUT_MS = 300_000;

/** Builds the image in `directory`, or finds it there. Throws LabError with what is missing. */
export async function buildGuestImage(directory: string, options: { readonly log?: Logger } = {}): Promise<GuestImage> {
  const log = options.log ?? silentLogger;
  const image = { kernel: join(directory, "vmlinux"), initrd: join(directory, "initrd.gz"), disk: join(directory, "mini.qcow2") };
  const key = await sourceKey(SOURCE);
  const isBuilt = async (): Promise<boolean> =>
    (await readFile(join(directory, "key"), "utf8").catch(() => "")) === key && Object.values(image).every((path) => existsSync(path));
  if (await isBuilt()) return image;
  await mkdir(directory, { recursive: true });
  await withFileLock(join(directory, "lock"), async () => {
    if (await isBuilt()) return;
    const started = performance.now();
    log.info({ directory }, "building the guest image from Debian packages");
    const work = await mkdtemp(join(directory, "work-"));
    try {
      const out = join(work, "out");
      await mkdir(out);
      await mkdir(join(work, "build"));
      const result = await run(["bash", join(SOURCE, "build.sh"), SOURCE, join(work, "build"), out], { timeoutMs: BUILD_TIMEOUT_MS });
      if (result.code !== 0) throw new LabError(`the guest image cannot be built: ${result.stderr.trim().slice(-1500)}`);
      await rm(join(directory, "key"), { force: true });
      for (const name of await readdir(out)) await rename(join(out, name), join(directory, name));
      // Last: without the key the image counts as not built.
      await writeFile(join(directory, "key"), key);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    log.info({ directory, durationMs: Math.round(performance.now() - started) }, "guest image is built");
  });
  return image;
}

async function sourceKey(source: string): Promise<string> {
  const hash = createHash("sha256");
  const entries = await readdir(source, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of paths.toSorted())
    hash
      .update(`${path.slice(source.length)}\0`)
      .update(await readFile(path))
      .update("\0");
  return hash.digest("hex");
}
