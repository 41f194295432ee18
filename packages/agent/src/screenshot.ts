/** QEMU's screenshots as PNG. Older QEMU gives PPM, which no browser shows. Called for `vm.screenshot`. */
import { crc32, deflateSync } from "node:zlib";
import { SheafError } from "@sheaf/model";

/** @returns PNG as it came, PPM (P6, 8 bits) as PNG. @throws SheafError `hypervisor-failed` for anything else */
export function toPng(mime: string, bytes: Uint8Array): Uint8Array {
  if (mime === "image/png" || (bytes[0] === 0x89 && bytes[1] === 0x50)) return bytes;
  // netpbm's format: "P6", width, height, 255, one space, then three bytes a pixel.
  const header = /^P6\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+255\s/.exec(Buffer.from(bytes.subarray(0, 200)).toString("latin1"));
  if (!header) throw new SheafError("hypervisor-failed", `the hypervisor gave a screenshot in a form that is not known (${mime})`);
  const width = Number(header[1]);
  const height = Number(header[2]);
  const start = header[0].length;
  if (bytes.length < start + width * height * 3)
    throw new SheafError("hypervisor-failed", "the hypervisor gave only part of a screenshot: try again");
  // Each line of a PNG begins with its filter: 0, none.
  const lines = new Uint8Array(height * (1 + width * 3));
  for (let y = 0; y < height; y += 1) lines.set(bytes.subarray(start + y * width * 3, start + (y + 1) * width * 3), y * (1 + width * 3) + 1);
  const size = new Uint8Array(13);
  const view = new DataView(size.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  size.set([8, 2, 0, 0, 0], 8); // 8 bits, true colour
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", size),
    chunk("IDAT", deflateSync(lines, { level: 3 })),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

/** RFC 2083: length, name, data, CRC of name and data. */
function chunk(name: string, data: Uint8Array): Uint8Array {
  const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
  const frame = Buffer.alloc(body.length + 8);
  frame.writeUInt32BE(data.length, 0);
  body.copy(frame, 4);
  frame.writeUInt32BE(crc32(body), body.length + 4);
  return frame;
}
