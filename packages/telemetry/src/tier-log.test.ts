/** What a crash or a bad disk does to a log: whatever was synced is there, whole, and the log goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MetricKind } from "@sheaf/model";
import { bytesOfIdentifier } from "./identifiers.ts";
import { CrashingFiles } from "./testing/crashing-files.ts";
import { idOf } from "./testing/figures.ts";
import { TierLog } from "./tier-log.ts";

const path = "/telemetry/1.log";
const host = idOf("host", 1);
const vm = idOf("vm", 1);
const member = (id: string, kind: MetricKind) => ({ id, idBytes: bytesOfIdentifier(id), kind });

function append(log: TierLog, first: number, value: number): void {
  const members = [member(host, "host"), member(vm, "vm")];
  const slots = Int32Array.of(first, first + 1, first + 3);
  log.append({ source: host, sourceBytes: bytesOfIdentifier(host), lastTold: first + 3, slots, rows: 3, members }, (frame) => {
    for (const { idBytes, kind } of members) frame.member(idBytes, kind, Uint16Array.of(value, value + 1, value + 500, 9, 9, 9), 2, 3);
  });
}

/** First figure of each frame that is found. */
const found = async (log: TierLog): Promise<number[]> => (await log.read(vm, 0, 1e9)).map(({ codes }) => codes[0] ?? -1);

async function logOf(files: CrashingFiles, frames: number): Promise<number[]> {
  const log = TierLog.begin(files, path, 1);
  const ends: number[] = [];
  for (let frame = 0; frame < frames; frame += 1) {
    append(log, 100 + frame * 10, frame);
    await log.commit();
    ends.push(log.bytes);
  }
  await log.close();
  return ends;
}

test("cut off at any byte, it has every frame that was whole, and takes new ones behind them", async () => {
  const ends = await logOf(new CrashingFiles(), 3);
  const files = new CrashingFiles();
  await logOf(files, 3);
  const whole = files.bytesOf(path);
  for (let cut = 0; cut <= whole.length; cut += 1) {
    files.setBytes(path, whole.subarray(0, cut));
    const { log, damaged } = await TierLog.open(files, path, 1);
    const expected = [0, 1, 2].slice(0, ends.filter((end) => end <= cut).length);
    assert.deepEqual(await found(log), expected, `cut at ${cut}`);
    assert.equal(damaged, 0);
    append(log, 500, 77);
    await log.commit();
    await log.close();
    assert.deepEqual(await found((await TierLog.open(files, path, 1)).log), [...expected, 77], `cut at ${cut}, and gone on`);
  }
});

test("damage at any byte costs the frame it is in, is told, and no other", async () => {
  const files = new CrashingFiles();
  const [first = 0, second = 0] = await logOf(files, 3);
  const whole = files.bytesOf(path).slice();
  for (let at = first; at < second; at += 1) {
    const bytes = whole.slice();
    bytes[at] = (bytes[at] ?? 0) ^ 0x55;
    files.setBytes(path, bytes);
    const { log, damaged } = await TierLog.open(files, path, 1);
    assert.deepEqual(await found(log), [0, 2], `damaged at ${at}`);
    assert.equal(damaged, 1);
  }
});

test("what the disk refused is written with the next try, once", async () => {
  for (let failing = 1; failing <= 3; failing += 1) {
    const files = new CrashingFiles();
    const log = TierLog.begin(files, path, 1);
    append(log, 100, 1);
    files.failAt = files.changes + failing;
    await assert.rejects(log.commit(), /the disk takes nothing/);
    append(log, 200, 2);
    files.failAt = Number.POSITIVE_INFINITY;
    await log.commit();
    files.crash();
    assert.deepEqual(await found(log), [1, 2]);
    assert.deepEqual(await found((await TierLog.open(files, path, 1)).log), [1, 2]);
  }
});

test("rows keep their times, with gaps, and only frames of the time asked for are read", async () => {
  const files = new CrashingFiles();
  await logOf(files, 3);
  const { log } = await TierLog.open(files, path, 1);
  assert.deepEqual(
    (await log.read(vm, 111, 119)).map(({ slots, codes }) => [[...slots], [...codes]]),
    [
      [
        [110, 111, 113],
        [1, 2, 501, 9, 9, 9],
      ],
    ],
  );
  assert.deepEqual(await log.read(idOf("vm", 2), 0, 1e9), []);
});
