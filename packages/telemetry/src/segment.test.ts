import assert from "node:assert/strict";
import { test } from "node:test";
import { Segment, SegmentWriter } from "./segment.ts";
import type { Table } from "./table.ts";
import { CrashingFiles } from "./testing/crashing-files.ts";
import { idOf } from "./testing/figures.ts";

const path = "/telemetry/1.segment";
const tableOf = (number: number, rows = 200): Table => ({
  slots: Int32Array.from({ length: rows }, (_, row) => 1000 + number + row),
  columns: 2,
  codes: Uint16Array.from({ length: rows * 2 }, (_, place) => (number * 7 + place * 13) % 3000),
});

async function write(files: CrashingFiles, numbers: readonly number[], rows?: number): Promise<void> {
  const writer = await SegmentWriter.begin(files, path);
  for (const number of numbers) await writer.add(idOf("vm", number), tableOf(number, rows));
  await writer.end();
}

test("finds every machine among more than one stretch of the index, also twice, and none that is not there", async () => {
  const files = new CrashingFiles();
  // In no order, as hosts come; 63 … 65 twice: they moved.
  const numbers = Array.from({ length: 300 }, (_, number) => (number * 211) % 300);
  await write(files, [...numbers, 63, 64, 65]);
  const segment = await Segment.open(files, path, 1);
  assert.deepEqual([segment.firstSlot, segment.lastSlot], [1000, 1498]);
  for (const number of numbers) {
    const tables = await segment.read(idOf("vm", number));
    assert.deepEqual(tables[0], tableOf(number));
    assert.equal(tables.length, number >= 63 && number <= 65 ? 2 : 1, `machine ${number}`);
  }
  assert.deepEqual(await segment.read(idOf("vm", 300)), []);
  assert.deepEqual(await segment.read(idOf("host", 1)), []);
});

test("a damaged byte is found: in the index when it is opened, in rows when they are read", async () => {
  const files = new CrashingFiles();
  await write(files, [1, 2], 20);
  const whole = files.bytesOf(path).slice();
  for (let at = 0; at < whole.length; at += 1) {
    const bytes = whole.slice();
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    files.setBytes(path, bytes);
    const readBoth = async (): Promise<void> => {
      const segment = await Segment.open(files, path, 1);
      // First and last slot stand beside the index: they choose files, the rows say their own times.
      if (segment.firstSlot !== 1001 || segment.lastSlot !== 1021) throw new RangeError("its times are others");
      await segment.read(idOf("vm", 1));
      await segment.read(idOf("vm", 2));
    };
    await assert.rejects(readBoth, RangeError, `byte ${at}`);
  }
});

test("cut off anywhere, it is no segment", async () => {
  const files = new CrashingFiles();
  await write(files, [1, 2], 20);
  const whole = files.bytesOf(path).slice();
  for (let length = 0; length < whole.length; length += 1) {
    files.setBytes(path, whole.subarray(0, length));
    await assert.rejects(Segment.open(files, path, 1), RangeError, `${length} bytes`);
  }
});
