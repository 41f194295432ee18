import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { execFileSync } from "node:child_process";
import type { ImageSpec } from "@sheaf/model";
import { World } from "./library-world.test-support.ts";

const mebibyte = 2 ** 20;
const convert = (format: string, ...options: string[]): [string, ...string[]] => [
  "qemu-img",
  "convert",
  "-f",
  "raw",
  "-O",
  format,
  ...options,
  "disk.raw",
  `disk.${format}`,
];

describe("images that are taken", () => {
  let world: World;
  let disk: Buffer;
  before(async () => {
    world = await World.open();
    disk = await world.rawDisk();
  });
  after(() => world.close());

  /** Uploads, waits, and compares what a machine would see of it with the disk that it was made of. */
  async function taken(bytes: Uint8Array, spec: Partial<ImageSpec> = {}): Promise<string> {
    const id = await world.add(spec);
    await world.upload(id, bytes);
    const status = await world.ended(id);
    assert.equal(status.problem, undefined);
    assert.equal(status.format, "qcow2");
    assert.equal(status.virtualSizeBytes, disk.length);
    const path = `${world.directory}/${id}.qcow2`;
    const file = await readFile(path);
    assert.equal(status.fileBytes, file.length);
    assert.equal(status.digest, `sha256:${createHash("sha256").update(file).digest("hex")}`);
    execFileSync("qemu-img", ["compare", "-f", "qcow2", "-F", "raw", path, world.path("disk.raw")]);
    assert.deepEqual(await world.kept(id), ["facts.json", "qcow2"]);
    return id;
  }

  it("keeps qcow2 as it is", async () => {
    const bytes = await world.made("disk.qcow2", ...convert("qcow2"));
    const id = await taken(bytes, { format: "qcow2", checksum: `sha512:${createHash("sha512").update(bytes).digest("hex")}` });
    assert.deepEqual(await readFile(`${world.directory}/${id}.qcow2`), bytes);
  });

  it("converts raw disks, told by their boot sector or declared", async () => {
    await taken(disk);
    await taken(disk, { format: "raw" });
  });

  it("converts VMDK (both kinds of one file), VDI and VHDX", async () => {
    await taken(await world.made("disk.vmdk", ...convert("vmdk")));
    await taken(await world.made("disk.vmdk", ...convert("vmdk", "-o", "subformat=streamOptimized")));
    await taken(await world.made("disk.vdi", ...convert("vdi")));
    await taken(await world.made("disk.vhdx", ...convert("vhdx")), { format: "vhdx" });
  });

  it("unpacks gz, zst and xz, and takes the checksum of the packed file", async () => {
    const qcow2 = await world.made("disk.qcow2", ...convert("qcow2"));
    const packed = gzipSync(qcow2);
    await taken(packed, { checksum: `sha256:${createHash("sha256").update(packed).digest("hex")}` });
    await taken(zstdCompressSync(qcow2));
    await taken(await world.made("disk.raw.xz", "xz", "-0", "-k", "disk.raw"));
  });

  it("keeps ISO images", async () => {
    await writeFile(world.path("hello.txt"), "hello");
    const iso = await world.made("cd.iso", "xorriso", "-as", "mkisofs", "-o", "cd.iso", "hello.txt");
    const id = await world.add({ type: "iso" });
    await world.upload(id, iso);
    const status = await world.ended(id);
    assert.deepEqual([status.state, status.format, status.virtualSizeBytes, status.fileBytes], ["ready", "iso", iso.length, iso.length]);
    assert.deepEqual(await readFile(`${world.directory}/${id}.iso`), iso);
    const disk = await world.add();
    await world.upload(disk, iso);
    assert.match((await world.ended(disk)).problem ?? "", /type iso/);
  });

  it("never lets qemu-img guess the format", () => {
    for (const run of world.programs.runs) if (run[0] === "qemu-img") assert.ok(run.includes("-f"), run.join(" "));
  });
});

describe("images that are refused", () => {
  let world: World;
  before(async () => {
    world = await World.open({ unpackedBytes: 32 * mebibyte });
    await world.rawDisk();
  });
  after(() => world.close());

  /** @param untouched no program may have seen the file */
  async function isRefused(bytes: Uint8Array, why: RegExp, spec: Partial<ImageSpec> = {}, untouched = true): Promise<void> {
    const runs = world.programs.runs.length;
    const id = await world.add(spec);
    await world.upload(id, bytes);
    const status = await world.ended(id);
    assert.equal(status.state, "failed");
    assert.match(status.problem ?? "", why);
    assert.doesNotMatch(status.problem ?? "", new RegExp(world.root));
    assert.deepEqual(await world.kept(id), []);
    if (untouched) assert.deepEqual(world.programs.runs.slice(runs), []);
  }

  it("with a backing file", async () => {
    await writeFile(world.path("secret"), Buffer.alloc(mebibyte, "secret"));
    const bytes = await world.made("evil.qcow2", "qemu-img", "create", "-f", "qcow2", "-b", world.path("secret"), "-F", "raw", "evil.qcow2");
    await isRefused(bytes, /backing file/);
    await isRefused(gzipSync(bytes), /backing file/);
  });

  it("with data in another file", async () => {
    const bytes = await world.made("ext.qcow2", "qemu-img", "create", "-f", "qcow2", "-o", "data_file=data.raw", "ext.qcow2", "1M");
    await isRefused(bytes, /data in another file/);
  });

  it("VMDK: descriptors alone, no capacity, a parent, extents elsewhere", async () => {
    const flat = await world.made("flat.vmdk", "qemu-img", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M");
    await isRefused(flat, /names its data in other files/);
    const sparse = await world.made("disk.vmdk", ...convert("vmdk"));
    const noCapacity = Buffer.from(sparse);
    noCapacity.writeBigUInt64LE(0n, 12);
    await isRefused(noCapacity, /data in other files/);
    const child = Buffer.from(sparse);
    child.write('\nparentFileNameHint="/etc/passwd"\n', 0x200 + 1024, "latin1");
    await isRefused(child, /data in other files/);
    const split = Buffer.from(sparse);
    const at = split.indexOf("monolithicSparse");
    split.write('twoGbMaxExtent"\n', at, "latin1");
    await isRefused(split, /data in other files/);
  });

  it("encrypted or marked corrupt", async () => {
    const plain = await world.made("disk.qcow2", ...convert("qcow2"));
    const encrypted = Buffer.from(plain);
    encrypted.writeUInt32BE(2, 32);
    await isRefused(encrypted, /encrypted/);
    const corrupt = Buffer.from(plain);
    corrupt.writeBigUInt64BE(2n, 72);
    await isRefused(corrupt, /corrupt/);
  });

  it("cut off", async () => {
    const qcow2 = await world.made("disk.qcow2", ...convert("qcow2"));
    await isRefused(qcow2.subarray(0, qcow2.length - 200_000), /damaged/, {}, false);
    await isRefused(qcow2.subarray(0, 60), /cut off/);
    const packed = gzipSync(qcow2);
    await isRefused(packed.subarray(0, packed.length - 1000), /cannot be unpacked/);
    const zst = zstdCompressSync(qcow2);
    await isRefused(zst.subarray(0, zst.length - 1000), /cannot be unpacked/);
    const xz = await world.made("disk.qcow2.xz", "xz", "-0", "-kf", "disk.qcow2");
    await isRefused(xz.subarray(0, xz.length - 1000), /cannot be unpacked/, {}, false);
  });

  it("with another checksum or format than declared", async () => {
    const qcow2 = await world.made("disk.qcow2", ...convert("qcow2"));
    await isRefused(qcow2, /checksum is sha256:[0-9a-f]{64}, but sha256:0{64}/, { checksum: `sha256:${"0".repeat(64)}` });
    await isRefused(qcow2, /is qcow2, but the image was declared as vmdk/, { format: "vmdk" });
    await isRefused(qcow2, /is qcow2, but the image was declared as raw/, { format: "raw" });
    await isRefused(qcow2, /type disk/, { type: "iso" });
    await isRefused(Buffer.alloc(mebibyte, 1), /not qcow2/, { format: "qcow2" });
  });

  it("bombs, before they fill the disk", async () => {
    await isRefused(gzipSync(Buffer.alloc(40 * mebibyte)), /unpacked image has more than/);
    await isRefused(zstdCompressSync(Buffer.alloc(40 * mebibyte)), /unpacked image has more than/);
  });

  it("a disk larger than is allowed", async () => {
    const bytes = await world.made("huge.qcow2", "qemu-img", "create", "-f", "qcow2", "huge.qcow2", "32T");
    await isRefused(bytes, /at most/, {}, false);
  });

  it("what is no image", async () => {
    await isRefused(Buffer.from("hello, this is text\n".repeat(100)), /no disk image/);
    await isRefused(Buffer.from('json:{"driver":"file","filename":"/etc/passwd"}'.padEnd(1024)), /other files/);
    await isRefused(randomBytes(3000), /no disk image/);
    await isRefused(Buffer.alloc(0), /empty/);
  });

  it("no room on the disk", async () => {
    world.files.freeBytes = 2 * mebibyte;
    try {
      const id = await world.add();
      await assert.rejects(world.upload(id, Buffer.alloc(10), { offset: 0, totalBytes: mebibyte }), { code: "store-full" });
      assert.deepEqual(await world.kept(id), []);
    } finally {
      world.files.freeBytes = undefined;
    }
  });
});
