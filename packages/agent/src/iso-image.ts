/**
 * A CD image of a few small files: ISO 9660 with Joliet names, enough for Linux, Windows and BSD to read a cloud-init seed. Made in
 * memory, because starting a program for it would cost a third of a machine's start. Called by seed.ts alone.
 *
 * ECMA-119 (ISO 9660) and the Joliet specification of 1995: all numbers that a directory holds are written twice, little- and big-endian.
 * One directory, names of at most 30 characters, no directory longer than one sector.
 */
const sectorBytes = 2048;
/** Empty sectors at the end: readers that look for other file systems give up on an image under 64 KiB (busybox's findfs). */
const paddingSectors = 16;
/** Sectors 0 to 15 are free for the system (ECMA-119, 6.2.1); then: primary, Joliet, end; path tables; directories; files. */
const layout = {
  primary: 16,
  joliet: 17,
  end: 18,
  primaryPathLittle: 19,
  primaryPathBig: 20,
  jolietPathLittle: 21,
  jolietPathBig: 22,
  primaryRoot: 23,
  jolietRoot: 24,
  files: 25,
} as const;

interface PlacedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly sector: number;
}

/**
 * @param label of the volume, at most 16 characters of A–Z, a–z, 0–9 and _; blkid shows it as it is
 * @param files by name; at most 20
 */
export function isoImage(label: string, files: Readonly<Record<string, string>>): Uint8Array {
  let next: number = layout.files;
  const placed: PlacedFile[] = Object.entries(files)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, text]) => {
      const bytes = new TextEncoder().encode(text);
      const file = { name, bytes, sector: next };
      next += Math.max(1, Math.ceil(bytes.length / sectorBytes));
      return file;
    });
  next += paddingSectors;
  const image = Buffer.alloc(next * sectorBytes);
  writeVolume(image, layout.primary, { label, joliet: false, sectors: next });
  writeVolume(image, layout.joliet, { label, joliet: true, sectors: next });
  image.write("\xffCD001\x01", layout.end * sectorBytes, "latin1");
  for (const joliet of [false, true]) {
    const root = joliet ? layout.jolietRoot : layout.primaryRoot;
    writePathTable(image, joliet ? layout.jolietPathLittle : layout.primaryPathLittle, root, "little");
    writePathTable(image, joliet ? layout.jolietPathBig : layout.primaryPathBig, root, "big");
    writeDirectory(image, root, placed, joliet);
  }
  for (const { bytes, sector } of placed) image.set(bytes, sector * sectorBytes);
  return image;
}

/** 8.4 and 8.5: the primary volume descriptor and Joliet's supplementary one differ in type, escape sequence and the coding of names. */
function writeVolume(image: Buffer, sector: number, { label, joliet, sectors }: { label: string; joliet: boolean; sectors: number }): void {
  const at = sector * sectorBytes;
  image.write(`${joliet ? "\x02" : "\x01"}CD001\x01`, at, "latin1");
  const text = (offset: number, length: number, value: string): void => {
    if (joliet) bigEndianText(value, length).copy(image, at + offset);
    else image.write(value.padEnd(length, " "), at + offset, "latin1");
  };
  text(8, 32, "");
  text(40, 32, label);
  both32(image, at + 80, sectors);
  // UCS-2, level 3: what names are written in.
  if (joliet) image.write("%/E", at + 88, "latin1");
  both16(image, at + 120, 1);
  both16(image, at + 124, 1);
  both16(image, at + 128, sectorBytes);
  both32(image, at + 132, 10);
  image.writeUInt32LE(joliet ? layout.jolietPathLittle : layout.primaryPathLittle, at + 140);
  image.writeUInt32BE(joliet ? layout.jolietPathBig : layout.primaryPathBig, at + 148);
  record(joliet ? layout.jolietRoot : layout.primaryRoot, sectorBytes, true, Buffer.from([0])).copy(image, at + 156);
  for (const [offset, length] of [
    [190, 128],
    [318, 128],
    [446, 128],
    [574, 128],
    [702, 37],
    [739, 37],
    [776, 37],
  ] as const) {
    text(offset, length, "");
  }
  // No dates: sixteen zeros and a zero byte mean "not specified" (8.4.26.1).
  for (const offset of [813, 830, 847, 864]) image.write(`${"0".repeat(16)}\0`, at + offset, "latin1");
  image[at + 881] = 1;
}

/** 9.4: the root alone. */
function writePathTable(image: Buffer, sector: number, root: number, order: "little" | "big"): void {
  const at = sector * sectorBytes;
  image[at] = 1;
  if (order === "little") image.writeUInt32LE(root, at + 2);
  else image.writeUInt32BE(root, at + 2);
  if (order === "little") image.writeUInt16LE(1, at + 6);
  else image.writeUInt16BE(1, at + 6);
}

function writeDirectory(image: Buffer, sector: number, files: readonly PlacedFile[], joliet: boolean): void {
  const names = (name: string): Buffer => (joliet ? bigEndianText(`${name};1`) : Buffer.from(`${plainName(name)};1`, "latin1"));
  const records = [
    record(sector, sectorBytes, true, Buffer.from([0])),
    record(sector, sectorBytes, true, Buffer.from([1])),
    ...files.map((file) => record(file.sector, file.bytes.length, false, names(file.name))),
  ];
  const bytes = Buffer.concat(records);
  if (bytes.length > sectorBytes) throw new RangeError(`${files.length} files do not fit into the one directory of a seed image`);
  bytes.copy(image, sector * sectorBytes);
}

/** 9.1. The date stays empty. */
function record(sector: number, length: number, directory: boolean, name: Buffer): Buffer {
  const size = 33 + name.length + (name.length % 2 === 0 ? 1 : 0);
  const entry = Buffer.alloc(size);
  entry[0] = size;
  both32(entry, 2, sector);
  both32(entry, 10, length);
  // Years since 1900, month, day: a day that exists, for readers that look.
  entry.set([80, 1, 1, 0, 0, 0, 0], 18);
  entry[25] = directory ? 2 : 0;
  both16(entry, 28, 1);
  entry[32] = name.length;
  name.copy(entry, 33);
  return entry;
}

/** 7.5: capitals, digits and _, at most 8 and 3; Joliet's names are those that are read. */
function plainName(name: string): string {
  const [base = "", extension = ""] = name
    .toUpperCase()
    .replaceAll(/[^A-Z0-9.]/g, "_")
    .split(".", 2);
  return `${base.slice(0, 8)}.${extension.slice(0, 3)}`;
}

/** UCS-2, big-endian; padded with spaces where a length in bytes is given. */
function bigEndianText(text: string, length?: number): Buffer {
  const padded = length === undefined ? text : text.padEnd(Math.floor(length / 2), " ");
  const bytes = Buffer.from(padded, "utf16le").swap16();
  return length === undefined ? bytes : Buffer.concat([bytes, Buffer.alloc(length - bytes.length)]);
}

function both16(buffer: Buffer, offset: number, value: number): void {
  buffer.writeUInt16LE(value, offset);
  buffer.writeUInt16BE(value, offset + 2);
}

function both32(buffer: Buffer, offset: number, value: number): void {
  buffer.writeUInt32LE(value, offset);
  buffer.writeUInt32BE(value, offset + 4);
}
