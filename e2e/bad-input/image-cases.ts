/** Images that must not be taken: broken, too large, or made to read the host's files. */
import { execFile } from "node:child_process";
import { copyFile, open, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { createGzip, gzipSync, zstdCompressSync } from "node:zlib";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";

/** The server's limit in this test; the bombs grow beyond it. */
export const imageLimitBytes = 64 * 2 ** 20;

export interface ImageCase {
  readonly what: string;
  readonly spec?: Readonly<Record<string, unknown>>;
  /** Writes the file into the folder. @returns its path; absent: nothing is uploaded, the spec has a URL */
  readonly make?: (folder: string, name: string) => Promise<string>;
  readonly code: string;
  /** What the problem must tell. */
  readonly says: RegExp;
}

const run = promisify(execFile);
const qemuImg = (...words: string[]): Promise<unknown> => run("qemu-img", words);
const file = (content: Buffer | string) => async (folder: string, name: string) => {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
};
const made =
  (...words: string[]) =>
  async (folder: string, name: string) => {
    const path = join(folder, name);
    await qemuImg("create", "-q", ...words.map((word) => word.replaceAll("FOLDER", folder)), path, "4M");
    return path;
  };
/** A qcow2 file with some bytes of its header changed. */
const patched = (offset: number, bytes: readonly number[]) => async (folder: string, name: string) => {
  const path = await made("-f", "qcow2")(folder, name);
  const handle = await open(path, "r+");
  await handle.write(Buffer.from(bytes), 0, bytes.length, offset);
  await handle.close();
  return path;
};
const zeros = (): Readable =>
  Readable.from(
    (function* () {
      for (let at = 0; at < imageLimitBytes + 2 ** 24; at += 2 ** 20) yield Buffer.alloc(2 ** 20);
    })(),
  );

export const imageCases = (miniFile: string): readonly ImageCase[] => [
  {
    what: "a qcow2 file that was cut off",
    make: async (folder, name) => {
      const path = join(folder, name);
      await copyFile(miniFile, path);
      await truncate(path, 3_000_000);
      return path;
    },
    code: "image-refused",
    says: /damaged|cut off|no qcow2/,
  },
  { what: "a qcow2 file that ends in its header", make: file(Buffer.from("QFI\xfb\0\0\0\x03", "latin1")), code: "image-refused", says: /header/ },
  {
    what: "a backing file /etc/shadow",
    make: (folder, name) => made("-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow")(folder, name),
    code: "image-refused",
    says: /backing file/,
  },
  {
    what: "a backing file by JSON",
    make: (folder, name) => made("-f", "qcow2", "-u", "-F", "raw", "-b", 'json:{"driver":"file","filename":"/etc/shadow"}')(folder, name),
    code: "image-refused",
    says: /backing file/,
  },
  {
    what: "a backing file over the network",
    make: (folder, name) => made("-f", "qcow2", "-u", "-F", "raw", "-b", "nbd://127.0.0.1/x")(folder, name),
    code: "image-refused",
    says: /backing file/,
  },
  {
    what: "a data file",
    make: (folder, name) => made("-f", "qcow2", "-o", "data_file=FOLDER/data.raw,data_file_raw=on")(folder, name),
    code: "image-refused",
    says: /another file/,
  },
  {
    what: "a VMDK that names /etc/shadow",
    make: file('# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8192 FLAT "/etc/shadow" 0\n'),
    code: "image-refused",
    says: /other files/,
  },
  {
    what: "a sparse VMDK whose descriptor names /etc/shadow",
    make: async (folder, name) => {
      const path = await made("-f", "vmdk")(folder, name);
      const bytes = (await readFile(path))
        .toString("latin1")
        .replace(/RW 8192 SPARSE "[^"]*"/, (found) => 'RW 8192 FLAT "/etc/shadow" 0'.padEnd(found.length));
      await writeFile(path, bytes, "latin1");
      return path;
    },
    code: "image-refused",
    says: /other files|data/,
  },
  { what: "an encrypted qcow2 file", make: patched(32, [0, 0, 0, 1]), code: "image-refused", says: /encrypted/ },
  { what: "a qcow2 file marked as corrupt", make: patched(72, [0, 0, 0, 0, 0, 0, 0, 2]), code: "image-refused", says: /corrupt/ },
  { what: "a qcow2 file of a version to come", make: patched(4, [0, 0, 0, 9]), code: "image-refused", says: /version 9/ },
  { what: "tables that point beyond the file", make: patched(40, [0, 0xff, 0xff, 0xff, 0, 0, 0, 0]), code: "image-refused", says: /qcow2|damaged/ },
  {
    what: "a disk of 17 TiB",
    make: async (folder, name) => {
      const path = join(folder, name);
      await qemuImg("create", "-q", "-f", "qcow2", path, "17T");
      return path;
    },
    code: "too-large",
    says: /at most/,
  },
  { what: "a text", make: file("root:x:0:0:root:/root:/bin/bash\n".repeat(64)), code: "image-refused", says: /no disk image/ },
  {
    what: "a program",
    make: async (folder, name) => {
      const path = join(folder, name);
      await copyFile("/bin/true", path);
      return path;
    },
    code: "image-refused",
    says: /no disk image/,
  },
  {
    what: "JSON that names a file",
    make: file(`json:{"driver":"raw","file":{"driver":"file","filename":"/etc/shadow"}}`.padEnd(512)),
    code: "image-refused",
    says: /names other files/,
  },
  {
    what: "random bytes as gzip",
    make: file(Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(4096, 0xa5)])),
    code: "image-refused",
    says: /unpacked/,
  },
  { what: "a gzip file that was cut off", make: file(gzipSync(Buffer.alloc(2 ** 20, 7)).subarray(0, 500)), code: "image-refused", says: /unpacked/ },
  { what: "gzip within gzip", make: file(gzipSync(gzipSync(Buffer.alloc(4096)))), code: "image-refused", says: /no disk image/ },
  {
    what: "a bomb (gz)",
    make: async (folder, name) => file(await buffer(zeros().pipe(createGzip())))(folder, name),
    code: "too-large",
    says: /unpacked image/,
  },
  {
    what: "a bomb (zst)",
    make: async (folder, name) => file(zstdCompressSync(await buffer(zeros())))(folder, name),
    code: "too-large",
    says: /unpacked image/,
  },
  {
    what: "a bomb (xz)",
    make: async (folder, name) => {
      const path = join(folder, name);
      await run("sh", ["-c", `head -c ${imageLimitBytes + 2 ** 24} /dev/zero | xz -0 > ${path}`]);
      return path;
    },
    code: "too-large",
    says: /unpacked image/,
  },
  {
    what: "another checksum",
    spec: { checksum: `sha256:${"0".repeat(64)}` },
    make: (folder, name) => made("-f", "qcow2")(folder, name),
    code: "image-refused",
    says: /checksum/,
  },
  {
    what: "another format than declared",
    spec: { format: "vhdx" },
    make: (folder, name) => made("-f", "qcow2")(folder, name),
    code: "image-refused",
    says: /qcow2/,
  },
  {
    what: "a disk as an ISO",
    spec: { type: "iso" },
    make: (folder, name) => made("-f", "qcow2")(folder, name),
    code: "image-refused",
    says: /type iso/,
  },
  { what: "a URL of this machine", spec: { source: { url: "http://127.0.0.1:9/a.qcow2" } }, code: "image-refused", says: /127\.0\.0\.1|address/ },
  {
    what: "a URL of a cloud's metadata",
    spec: { source: { url: "http://169.254.169.254/latest" } },
    code: "image-refused",
    says: /169\.254|address/,
  },
  { what: "a URL of this machine in other words", spec: { source: { url: "http://[::ffff:7f00:1]:9/a" } }, code: "image-refused", says: /address/ },
];
