/**
 * Tells what a strange file is from its first bytes, and refuses those that would make qemu-img open other files: before any program
 * has touched it. Layouts: qcow2 – QEMU docs/interop/qcow2; VMDK – VMware "Virtual Disk Format 5.0" and QEMU block/vmdk.c; VHDX –
 * [MS-VHDX]; VDI – QEMU block/vdi.c; ISO – ECMA-119. Never writes.
 */
import { SheafError } from "@sheaf/model";

export type Packing = "gz" | "zst" | "xz";
export type DiskFormat = "qcow2" | "raw" | "vmdk" | "vdi" | "vhdx";
export type ContentFormat = DiskFormat | "iso";

/** A file to look at; reads past its end give fewer bytes. */
export interface Content {
  readonly sizeBytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** What the user said about the image. */
export interface Declared {
  readonly format?: ContentFormat;
  readonly type: "disk" | "iso";
}

export const refused = (message: string, next: string, cause?: string): SheafError =>
  new SheafError("image-refused", message, cause === undefined || cause === "" ? { next } : { next, cause });

/** @returns `null`: not packed, as far as can be told */
export async function packingOf(content: Content): Promise<Packing | null> {
  const head = Buffer.from(await content.read(0, 6)).toString("hex");
  if (head.startsWith("1f8b")) return "gz";
  if (head.startsWith("28b52ffd")) return "zst";
  if (head === "fd377a585a00") return "xz";
  return null;
}

/**
 * The format by content, checked against what was declared.
 * @throws SheafError `image-refused` for a file that refers to others, is none of the formats, or is another than declared
 */
export async function contentFormat(content: Content, declared: Declared): Promise<ContentFormat> {
  if (content.sizeBytes === 0) throw refused("The image file is empty.", "Upload it whole, or correct the address.");
  const head = Buffer.from(await content.read(0, 512));
  const found = await diskMagic(content, head);
  if (declared.type === "iso") {
    if (found !== null) throw refused(`The file is a ${found} disk, but the image was declared as type iso.`, "Import it with type disk.");
    if (declared.format !== "raw" && !(await isIso(content)))
      throw refused("The file is no ISO 9660 or UDF image.", "Give a CD or DVD image, or import it with type disk.");
    return "iso";
  }
  if (found !== null) {
    if (declared.format !== undefined && declared.format !== found)
      throw refused(`The file is ${found}, but the image was declared as ${declared.format}.`, `Import it with format ${found}, or without one.`);
    return found;
  }
  if (declared.format === "raw") {
    if (content.sizeBytes % 512 !== 0)
      throw refused(`A raw disk consists of whole sectors of 512 bytes; this file has ${content.sizeBytes} bytes.`, "See whether it was cut off.");
    return "raw";
  }
  if (declared.format !== undefined)
    throw refused(`The file is not ${declared.format}, as the image was declared.`, "Correct the format, or leave it out to have it told.");
  if (await isIso(content)) throw refused("The file is a CD or DVD image.", "Import it with type iso.");
  if (content.sizeBytes % 512 === 0 && head[510] === 0x55 && head[511] === 0xaa) return "raw";
  throw refused(
    "The file is no disk image that Sheaf reads: not qcow2, VMDK, VDI, VHDX, ISO, nor a raw disk with a boot sector.",
    "Convert it to qcow2; a raw disk without a boot sector is taken when it is declared with format raw.",
  );
}

async function diskMagic(content: Content, head: Buffer): Promise<DiskFormat | null> {
  const text = head.toString("latin1");
  if (text.startsWith("QFI\xfb")) {
    refuseQcow2(head);
    return "qcow2";
  }
  if (text.startsWith("KDMV")) {
    await refuseVmdk(content, head);
    return "vmdk";
  }
  if (text.startsWith("vhdxfile")) return "vhdx";
  if (head.length >= 0x48 && head.readUInt32LE(0x40) === 0xbeda107f) return "vdi";
  if (/^\s*# ?disk descriptor ?file/i.test(text) || text.startsWith("COWD"))
    throw refused(
      "The file is a VMDK that names its data in other files.",
      "Export the disk as one file (monolithicSparse or streamOptimized), or convert it to qcow2.",
    );
  if (text.startsWith("json:") || text.startsWith("LUKS\xba\xbe"))
    throw refused("The file is encrypted or names other files.", "Convert it to qcow2.");
  return null;
}

/** Bits of qcow2's incompatible features. */
const qcow2Corrupt = 1n << 1n;
const qcow2ExternalData = 1n << 2n;

function refuseQcow2(head: Buffer): void {
  if (head.length < 72) throw refused("The file ends within its qcow2 header.", "See whether it was cut off, and import it again.");
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    throw refused(`The file is qcow version ${version}; only 2 and 3 are read.`, "Convert it with qemu-img convert.");
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0)
    throw refused("The image refers to a backing file, which is not part of it.", "Flatten it: qemu-img convert -O qcow2 IMAGE FLAT.");
  if (head.readUInt32BE(32) !== 0) throw refused("The image is encrypted.", "Decrypt it: qemu-img convert with its secret.");
  if (version === 2) return;
  if (head.length < 104) throw refused("The file ends within its qcow2 header.", "See whether it was cut off, and import it again.");
  const incompatible = head.readBigUInt64BE(72);
  if ((incompatible & qcow2ExternalData) !== 0n)
    throw refused("The image keeps its data in another file, which is not part of it.", "Flatten it: qemu-img convert -O qcow2 IMAGE FLAT.");
  if ((incompatible & qcow2Corrupt) !== 0n) throw refused("The image is marked as corrupt.", "Repair it: qemu-img check -r all IMAGE.");
}

/** Where QEMU looks for the descriptor of a sparse VMDK, and how far. */
const vmdkDescriptorAt = 0x200;
const vmdkDescriptorBytes = 20 * 512;
/** A descriptor longer than this is none. */
const vmdkDescriptorLimit = 2 ** 20;

async function refuseVmdk(content: Content, head: Buffer): Promise<void> {
  if (head.length < 512) throw refused("The file ends within its VMDK header.", "See whether it was cut off, and import it again.");
  const elsewhere = (): SheafError =>
    refused("The VMDK refers to data in other files.", "Export the disk as one file (monolithicSparse or streamOptimized), or convert it to qcow2.");
  // Without a capacity QEMU takes the embedded descriptor for a list of extents in other files.
  if (head.readBigUInt64LE(12) === 0n) throw elsewhere();
  const places: [offset: number, length: number][] = [[vmdkDescriptorAt, vmdkDescriptorBytes]];
  const offset = Number(head.readBigUInt64LE(28)) * 512;
  const length = Number(head.readBigUInt64LE(36)) * 512;
  if (offset > 0 && offset < content.sizeBytes) places.push([offset, Math.min(Math.max(length, vmdkDescriptorBytes), vmdkDescriptorLimit)]);
  for (const place of places) {
    const descriptor = Buffer.from(await content.read(...place))
      .toString("latin1")
      .toLowerCase();
    if (descriptor.includes("parentfilenamehint")) throw elsewhere();
    const type = /createtype\s*=\s*"?([a-z0-9]+)/.exec(descriptor)?.[1];
    if (type !== undefined && type !== "monolithicsparse" && type !== "streamoptimized") throw elsewhere();
    // Its one extent is the file itself. QEMU does not open what another line names, but nothing good has one.
    if (/^\s*(rw|rdonly|noaccess)\s+\d+\s+(?!sparse\b)/m.test(descriptor)) throw elsewhere();
  }
}

async function isIso(content: Content): Promise<boolean> {
  const mark = Buffer.from(await content.read(32_769, 5)).toString("latin1");
  return mark === "CD001" || mark === "BEA01";
}
