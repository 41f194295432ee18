import assert from "node:assert/strict";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { toPng } from "./screenshot.ts";

test("PPM becomes PNG with the same pixels; PNG stays; anything else is refused", () => {
  const pixels = Buffer.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const png = Buffer.from(toPng("image/x-portable-pixmap", Buffer.concat([Buffer.from("P6\n# made by QEMU\n3 2\n255\n"), pixels])));
  assert.deepEqual([...png.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [3, 2]);
  const data = png.indexOf("IDAT");
  const lines = inflateSync(png.subarray(data + 4, data + 4 + png.readUInt32BE(data - 4)));
  assert.deepEqual(lines, Buffer.concat([Buffer.from([0]), pixels.subarray(0, 9), Buffer.from([0]), pixels.subarray(9)]));
  assert.equal(toPng("image/png", png), png);
  assert.throws(() => toPng("image/x-portable-pixmap", Buffer.from("P6\n3 2\n255\nabc")), /only part/);
  assert.throws(() => toPng("text/plain", Buffer.from("hello")), /not known/);
});
